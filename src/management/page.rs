//! The page for people: a handful of files that read the API like any other client.
//!
//! It owns the files and how browsers are to treat them, and knows nothing of the broker: whoever opens the page gets it,
//! and logs in from there. Names come from clients, so the page puts them in as text, never as markup, and the policy lets
//! no script run but these files.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

/// Only the page's own files, and only calls back to where it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// How hard files are compressed, once each: as hard as there is.
const COMPRESSION_LEVEL: u8 = 9;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!("page/", $path)).as_slice())),*]
    };
}

/// Every file of the folder.
const FILES: [(&str, &[u8]); 39] = files![
    "index.html",
    "icon.svg",
    "css/base.css",
    "css/parts.css",
    "js/actions.js",
    "js/api.js",
    "js/app.js",
    "js/charts.js",
    "js/delayed.js",
    "js/dialog.js",
    "js/dom.js",
    "js/format.js",
    "js/graph.js",
    "js/held.js",
    "js/keys.js",
    "js/learn.js",
    "js/messages.js",
    "js/metrics.js",
    "js/parts.js",
    "js/places.js",
    "js/route.js",
    "js/router.js",
    "js/store.js",
    "js/table.js",
    "js/tail.js",
    "js/warnings.js",
    "js/views/channels.js",
    "js/views/connections.js",
    "js/views/definitions.js",
    "js/views/exchanges.js",
    "js/views/limits.js",
    "js/views/login.js",
    "js/views/overview.js",
    "js/views/policies.js",
    "js/views/queue.js",
    "js/views/queues.js",
    "js/views/topology.js",
    "js/views/users.js",
    "js/views/vhosts.js",
];

/// A file as it is sent.
struct File {
    bytes: &'static [u8],
    content_type: &'static str,
    /// What says that it is still the same.
    tag: HeaderValue,
    /// The file for those who take it compressed, made when the first of them asks.
    compressed: LazyLock<Bytes, Box<dyn FnOnce() -> Bytes + Send>>,
}

impl File {
    fn new(path: &str, bytes: &'static [u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let tag = format!("\"{:016x}\"", hasher.finish());
        Self {
            bytes,
            content_type: content_type(path),
            tag: HeaderValue::from_str(&tag).expect("digits in quotes"),
            compressed: LazyLock::new(Box::new(move || {
                miniz_oxide::deflate::compress_to_vec_zlib(bytes, COMPRESSION_LEVEL).into()
            })),
        }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.content_type)),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
            (header::ETAG, self.tag.clone()),
        ];
        if lists(asked, header::IF_NONE_MATCH, self.tag.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        if lists(asked, header::ACCEPT_ENCODING, b"deflate") {
            return (headers, [(header::CONTENT_ENCODING, "deflate")], self.compressed.clone()).into_response();
        }
        (headers, self.bytes).into_response()
    }
}

/// Whether a header's list names this.
fn lists(asked: &HeaderMap, name: header::HeaderName, wanted: &[u8]) -> bool {
    let lists = asked.get_all(name);
    let mut parts = lists.iter().flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    parts.any(|part| {
        let part = part.trim_ascii();
        part.strip_prefix(b"W/").unwrap_or(part) == wanted
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// The paths of the files, for everybody.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |routes, (path, bytes)| {
        let file: &'static File = Box::leak(Box::new(File::new(path, bytes)));
        let answer = async |asked: HeaderMap| file.answer(&asked);
        let path = if *path == "index.html" { "/".to_owned() } else { format!("/{path}") };
        routes.route(&path, get(answer))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Puts the names of all files there into a set.
    fn under(folder: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                under(&path, into);
            } else {
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/management/page");
                into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let mut there = BTreeSet::new();
        under(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/management/page"), &mut there);
        assert_eq!(there, FILES.iter().map(|(path, _)| (*path).to_owned()).collect());
        assert!(FILES.iter().all(|(path, _)| content_type(path) != "application/octet-stream"));
    }

    #[test]
    fn modules_are_asked_for_all_at_once() {
        let (_, index) = FILES.iter().find(|(path, _)| *path == "index.html").unwrap();
        let index = std::str::from_utf8(index).unwrap();
        for (path, _) in FILES.iter().filter(|(path, _)| path.ends_with(".js")) {
            assert!(index.contains(&format!("\"/{path}\"")), "{path} is asked for by a module before it");
        }
    }

    #[test]
    fn nothing_in_the_page_makes_markup_of_text() {
        for (path, bytes) in FILES {
            let text = std::str::from_utf8(bytes).unwrap();
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "DOMParser",
                "createContextualFragment",
                "srcdoc",
                "setHTML",
            ] {
                assert!(!text.contains(forbidden), "{path}: {forbidden}");
            }
            let is_markup = path.ends_with(".html");
            assert!(
                !is_markup || !text.contains("style=") && !text.contains("<style") && !text.contains(" on"),
                "{path}"
            );
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let file = File::new("js/a.js", b"let a = 1;");
        let asked = |name, value: &HeaderValue| file.answer(&HeaderMap::from_iter([(name, value.clone())]));
        let answer = file.answer(&HeaderMap::new());
        assert_eq!(
            (answer.status(), answer.headers()[header::CONTENT_TYPE].as_bytes()),
            (StatusCode::OK, b"text/javascript; charset=utf-8".as_slice())
        );
        assert_eq!(asked(header::IF_NONE_MATCH, &file.tag).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(asked(header::IF_NONE_MATCH, &HeaderValue::from_static("\"x\"")).status(), StatusCode::OK);
        let list = HeaderValue::from_static("gzip, deflate, br");
        assert_eq!(asked(header::ACCEPT_ENCODING, &list).headers()[header::CONTENT_ENCODING], "deflate");
        let list = HeaderValue::from_static("gzip, deflate;q=0");
        assert!(!asked(header::ACCEPT_ENCODING, &list).headers().contains_key(header::CONTENT_ENCODING));
    }
}
