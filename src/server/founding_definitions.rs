//! What `load_definitions` means to a cluster: its files are looked at whenever a node starts, and imported once, in the term in
//! which the cluster gets its first users and virtual hosts.
//!
//! A node that comes to lead never ends because of them: the others would come to lead next, and find the same.

use super::hub::Hub;
use super::{hub_settings, load_definitions, random, tell_unused_defaults};
use crate::broker::Broker;
use crate::broker::store::{LogPosition, Store};
use crate::config::Config;
use crate::storage::{LogOptions, LogStore};
use std::io;
use std::path::Path;

/// What a cluster is founded with is one entry of its log, and may have so many bytes there: as much as a message of the
/// largest size, or a transaction, may have unless more is set.
const FOUNDING_MAX_BYTES: usize = 256 << 20;

/// Says what is wrong with the files that the settings name, as a cluster finds it that has nothing yet.
///
/// # Errors
/// A file can't be read, or something is wrong with what it says.
pub fn check(config: &Config) -> io::Result<()> {
    config.definitions().map_or(Ok(()), |path| try_out(config, path, FOUNDING_MAX_BYTES))
}

/// Imports all of it into a broker that is thrown away, and looks whether it is no more than that.
fn try_out(config: &Config, path: &Path, bytes_max: usize) -> io::Result<()> {
    let settings = hub_settings(config, random()?, 0).broker;
    let mut nobodys = Broker::new(settings, LogStore::new(LogOptions::default(), LogPosition::default()), 0);
    load_definitions::for_each(path, |_, mut import| {
        let outcome = nobodys.import_some(&mut import, None, usize::MAX);
        outcome.expect("there is no more than that")?;
        let bytes = nobodys.store().pending_bytes();
        if bytes > bytes_max {
            return Err(format!(
                "{bytes} bytes of definitions, those of files before it included, and a cluster is founded with \
                 {bytes_max} at most: import some of them later"
            ));
        }
        Ok(())
    })
}

/// A node comes to lead, and `founds` what it leads, or not: then the files have been imported, or are not for this cluster.
pub fn import<S: Store>(config: &Config, hub: &mut Hub<S>, founds: bool) {
    let Some(path) = config.definitions() else { return tell_unused_defaults(config, hub.broker()) };
    if !founds {
        tracing::info!(
            target: "management",
            "definitions from {} are for a new cluster, and this one has users or virtual hosts: they are not imported",
            path.display()
        );
        return;
    }
    // All of them or none: what is imported in part would be imported no more. So they are one entry, too, however many files
    // there are: whoever leads after a crash finds all of it, or founds.
    let imported = check(config).and_then(|()| {
        hub.broker_mut().store_mut().keep_together(true);
        let loaded = load_definitions::load(path, hub.broker_mut());
        hub.broker_mut().store_mut().keep_together(false);
        loaded
    });
    if let Err(error) = imported {
        tracing::error!(
            target: "management",
            "{error}. This cluster has no user, so that nobody can log in: mend that, and start this node again"
        );
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the files in these tests are what somebody wrote")]
mod tests {
    use super::*;
    use crate::access::{PasswordHash, Tags};
    use crate::storage::batch::BATCH_HEADER_BYTES;
    use crate::storage::{BatchDone, Written};
    use std::path::PathBuf;

    /// A file of its own.
    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("leveret-founding-{}-{name}.json", std::process::id()));
            let file = Self(path);
            file.write(text);
            file
        }

        fn write(&self, text: &str) {
            std::fs::write(&self.0, text).expect("a temporary file");
        }

        fn config(&self) -> Config {
            Config { load_definitions: self.0.clone(), ..Config::default() }
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    const ADA: &str = r#"{"users":[{"name":"ada","password":"lovelace","tags":""}],"vhosts":[{"name":"/"}]}"#;
    /// What it says of the queue is wrong, and what stands before that is not.
    const IN_PART: &str = r#"{"users":[{"name":"ada","password":"lovelace","tags":""}],"vhosts":[{"name":"/"}],
        "queues":[{"vhost":"/","name":"q","durable":true,"arguments":{"x-queue-type":"stream"}}]}"#;

    fn hub(config: &Config) -> Hub<LogStore> {
        hub_with(config, LogOptions::default())
    }

    fn hub_with(config: &Config, options: LogOptions) -> Hub<LogStore> {
        let settings = hub_settings(config, [0; 32], 0);
        Hub::new(settings, LogStore::new(options, LogPosition::default()), 0)
    }

    /// A folder of its own with files: one with a user, and others with a queue each.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, queues: usize) -> Self {
            let path = std::env::temp_dir().join(format!("leveret-founding-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a temporary folder");
            std::fs::write(path.join("0.json"), ADA).expect("a temporary file");
            for queue in 0..queues {
                let text =
                    format!(r#"{{"queues":[{{"vhost":"/","name":"q{queue}","durable":true,"arguments":{{}}}}]}}"#);
                std::fs::write(path.join(format!("1-{queue}.json")), text).expect("a temporary file");
            }
            Self(path)
        }

        fn config(&self) -> Config {
            Config { load_definitions: self.0.clone(), ..Config::default() }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn has_ada(hub: &Hub<LogStore>) -> bool {
        hub.broker().find_user(b"ada").is_some()
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_when_a_node_starts() {
        let file = File::new("check", ADA);
        check(&file.config()).expect("nothing is wrong");
        check(&file.config()).expect("nor is there anything of it afterwards");
        for (text, why) in [("{", "can't load definitions from "), (IN_PART, "stream")] {
            file.write(text);
            let said = check(&file.config()).expect_err("something is wrong").to_string();
            assert!(said.contains(why), "{said}");
        }
        let missing = Config { load_definitions: "/nowhere/at-all.json".into(), ..Config::default() };
        assert!(check(&missing).is_err());
    }

    #[test]
    fn who_founds_imports_all_or_nothing_and_who_comes_later_nothing() {
        let file = File::new("import", IN_PART);
        let config = file.config();
        let mut founded = hub(&config);
        import(&config, &mut founded, true);
        assert!(!has_ada(&founded), "nothing of it");
        file.write(ADA);
        import(&config, &mut founded, true);
        assert!(has_ada(&founded), "what is mended is imported");
        let mut led = hub(&config);
        import(&config, &mut led, false);
        assert!(!has_ada(&led));
    }

    #[test]
    fn a_cluster_is_founded_with_one_entry_whatever_the_number_of_files() {
        let folder = Folder::new("entry", 5);
        let config = folder.config();
        // Each file alone would be a batch, and so an entry.
        let mut founded =
            hub_with(&config, LogOptions { batch_max_bytes: BATCH_HEADER_BYTES + 1, ..LogOptions::default() });
        import(&config, &mut founded, true);
        let store = founded.broker_mut().store_mut();
        assert!(store.take_batch(0).expect("what was imported").records >= 2 + 5, "a user, a virtual host, queues");
        assert_eq!(store.pending_bytes(), 0, "and nothing behind it");
        // What comes later is not kept together any more.
        for name in ["grace", "joan"] {
            founded.broker_mut().put_user(name, PasswordHash::salted_sha256(b"", [0; 4]), Tags::default());
        }
        let done = BatchDone { result: Ok(Written::default()), recycled: None };
        founded.broker_mut().store_mut().batch_done(done).expect("it is written");
        assert_eq!(founded.broker_mut().store_mut().take_batch(0).expect("a user").records, 1);
    }

    #[test]
    fn more_than_an_entry_is_to_have_is_refused_with_the_limit() {
        let folder = Folder::new("limit", 5);
        let config = folder.config();
        try_out(&config, &folder.0, 4096).expect("it is little");
        let said = try_out(&config, &folder.0, 20).expect_err("it is more").to_string();
        assert!(said.contains(".json: ") && said.contains("is founded with 20 at most"), "{said}");
    }
}
