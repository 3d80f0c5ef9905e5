//! A policy out of what somebody said, with RabbitMQ's words for what is wrong with it: all of it at once.

use super::{ApplyTo, DEFINITION_BYTES_MAX, Policy, PolicyKind, settings};
use crate::access::Pattern;
use crate::broker::equivalence::integer;
use crate::protocol::{FieldTable, FieldValue, ShortString};

/// What was said of a policy, apart from its name. Nobody has looked at it yet.
#[derive(Clone, PartialEq, Debug)]
pub struct SaidPolicy {
    pub pattern: FieldValue,
    /// `None`: all.
    pub apply_to: Option<FieldValue>,
    /// `None`: 0.
    pub priority: Option<FieldValue>,
    pub definition: FieldValue,
}

impl Policy {
    /// # Errors
    /// What is wrong, in lines.
    pub fn read(kind: PolicyKind, name: ShortString, said: SaidPolicy) -> Result<Self, String> {
        let SaidPolicy { pattern, apply_to, priority, definition } = said;
        // The order in which RabbitMQ tells what is wrong.
        let definition = definition_of(kind, definition);
        let apply_to = apply_to.map_or(Ok(ApplyTo::default()), |said| apply_to_of(&said));
        let pattern = pattern_of(&pattern);
        let priority = priority.map_or(Ok(0), |said| priority_of(&said));
        match (definition, apply_to, pattern, priority) {
            (Ok(definition), Ok(apply_to), Ok(pattern), Ok(priority)) => {
                Ok(Self::new(name, pattern, apply_to, priority, definition))
            }
            (definition, apply_to, pattern, priority) => {
                let wrong = [definition.err(), apply_to.err(), pattern.err(), priority.err()];
                let mut text = "Validation failed\n\n".to_owned();
                wrong.into_iter().flatten().for_each(|wrong| {
                    text.push_str(&wrong);
                    text.push('\n');
                });
                Err(text)
            }
        }
    }

    /// A policy that comes back from the log.
    ///
    /// # Errors
    /// Its pattern is none any more.
    pub(in crate::broker) fn restored(
        name: ShortString,
        pattern: &str,
        apply_to: ApplyTo,
        priority: i64,
        definition: FieldTable,
    ) -> Result<Self, String> {
        let pattern =
            Pattern::for_policies(pattern).map_err(|error| format!("the pattern of policy {name} is none: {error}"))?;
        Ok(Self::new(name, pattern, apply_to, priority, definition))
    }
}

fn definition_of(kind: PolicyKind, said: FieldValue) -> Result<FieldTable, String> {
    let mut definition = match said {
        FieldValue::Table(definition) => definition,
        other => return Err(format!("definition must be a dictionary: {}", settings::term(&other))),
    };
    if definition.0.is_empty() {
        return Err("no policy provided".to_owned());
    }
    definition.0.sort_by(|(a, _), (b, _)| a.cmp(b));
    settings::check(kind, &definition)?;
    let mut bytes = Vec::new();
    definition.encode_entries(&mut bytes);
    if bytes.len() > DEFINITION_BYTES_MAX {
        return Err(format!("definition is longer than {DEFINITION_BYTES_MAX} bytes"));
    }
    Ok(definition)
}

fn apply_to_of(said: &FieldValue) -> Result<ApplyTo, String> {
    let name = match said {
        FieldValue::LongString(name) => name.to_vec(),
        other => settings::term(other).into_bytes(),
    };
    ApplyTo::from_name(&name).ok_or_else(|| {
        format!(
            "apply-to '{}' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', \
             'exchanges', or 'all'",
            String::from_utf8_lossy(&name)
        )
    })
}

fn pattern_of(said: &FieldValue) -> Result<Pattern, String> {
    let FieldValue::LongString(text) = said else {
        return Err(format!("pattern should be a binary but was {}", settings::term(said)));
    };
    let invalid =
        |reason: &dyn std::fmt::Display| format!("pattern should be regular expression but is invalid: {reason}");
    let text = str::from_utf8(text).map_err(|error| invalid(&error))?;
    Pattern::for_policies(text).map_err(|error| invalid(&error))
}

/// RabbitMQ takes fractions, too; nobody was seen who needs one.
fn priority_of(said: &FieldValue) -> Result<i64, String> {
    integer(said).ok_or_else(|| format!("priority should be a number, actually was {}", settings::term(said)))
}
