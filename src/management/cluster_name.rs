//! What the cluster is called: as the global parameter `cluster_name` says, which lasts and goes with definitions, or else as
//! the node.

use super::App;
use super::line::{Asker, Declined};
use super::question::Question;

/// The parameter that says it, as JSON.
pub const CLUSTER_NAME: &str = "cluster_name";
/// The longest name, in bytes: all who connect are told it.
const CLUSTER_NAME_BYTES_MAX: usize = 255;

/// The name that a value of the parameter says. `None`: it says none.
pub fn cluster_name_of(value: &str) -> Option<String> {
    let name: String = serde_json::from_str(value).ok()?;
    is_cluster_name(&name).then_some(name)
}

pub fn is_cluster_name(name: &str) -> bool {
    name.len() <= CLUSTER_NAME_BYTES_MAX
}

impl App {
    /// What the cluster is called.
    ///
    /// # Errors
    /// When the loop doesn't answer.
    pub async fn cluster_name(&self) -> Result<String, Declined> {
        let parameters = self.line.ask(Asker::Management, Question::GlobalParameters).await?;
        let said = parameters.iter().find(|(name, _)| **name == *CLUSTER_NAME.as_bytes());
        let said = said.and_then(|(_, value)| cluster_name_of(value));
        let by_settings =
            || self.settings.cluster.as_ref().map_or(self.settings.node.clone(), |cluster| cluster.view().name);
        Ok(said.unwrap_or_else(by_settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_text_that_is_not_too_long() {
        assert_eq!(cluster_name_of("\"a b\""), Some("a b".to_owned()));
        assert_eq!(cluster_name_of("\"\""), Some(String::new()));
        let json = |length: usize| format!("\"{}\"", "x".repeat(length));
        assert!(cluster_name_of(&json(CLUSTER_NAME_BYTES_MAX)).is_some());
        for other in ["5", "null", "[\"a\"]", "", "a", &json(CLUSTER_NAME_BYTES_MAX + 1)] {
            assert_eq!(cluster_name_of(other), None, "{other}");
        }
    }
}
