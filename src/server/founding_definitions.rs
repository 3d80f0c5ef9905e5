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

/// Says what is wrong with the files that the settings name, as a cluster finds it that has nothing yet.
///
/// # Errors
/// A file can't be read, or something is wrong with what it says.
pub fn check(config: &Config) -> io::Result<()> {
    config.definitions().map_or(Ok(()), |path| try_out(config, path))
}

/// Imports all of it into a broker that is thrown away.
fn try_out(config: &Config, path: &Path) -> io::Result<()> {
    let settings = hub_settings(config, random()?, 0).broker;
    let mut nobodys = Broker::new(settings, LogStore::new(LogOptions::default(), LogPosition::default()), 0);
    load_definitions::for_each(path, |_, mut import| {
        let outcome = nobodys.import_some(&mut import, None, usize::MAX);
        outcome.expect("there is no more than that").map(|_| ())
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
    // All of them or none: what is imported in part would be imported no more.
    let imported = try_out(config, path).and_then(|()| load_definitions::load(path, hub.broker_mut()));
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
        let settings = hub_settings(config, [0; 32], 0);
        Hub::new(settings, LogStore::new(LogOptions::default(), LogPosition::default()), 0)
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
}
