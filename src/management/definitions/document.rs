//! The parts of a definitions file, one element at a time: a file is as large as a body may be, and as a tree of values it would
//! take many times its room.

use super::super::http::ApiError;
use crate::protocol::ShortString;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The longest element, in bytes of JSON.
const ELEMENT_MAX_BYTES: usize = 1 << 20;

/// What is said of a file that is none.
const NO_JSON: &str = "failed_to_parse_json";

/// What a file is about.
#[derive(Clone)]
pub enum Scope {
    /// Everything.
    Cluster,
    /// What is in one virtual host, whose name is in no element.
    Vhost(ShortString),
}

/// The lists of a file that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Category {
    Users,
    Vhosts,
    Permissions,
    TopicPermissions,
    Exchanges,
    GlobalParameters,
    Policies,
    Parameters,
    Queues,
    Bindings,
}

impl Category {
    const ALL: [Self; 10] = [
        Self::Users,
        Self::Vhosts,
        Self::Permissions,
        Self::TopicPermissions,
        Self::Exchanges,
        Self::GlobalParameters,
        Self::Policies,
        Self::Parameters,
        Self::Queues,
        Self::Bindings,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Vhosts => "vhosts",
            Self::Permissions => "permissions",
            Self::TopicPermissions => "topic_permissions",
            Self::Exchanges => "exchanges",
            Self::GlobalParameters => "global_parameters",
            Self::Policies => "policies",
            Self::Parameters => "parameters",
            Self::Queues => "queues",
            Self::Bindings => "bindings",
        }
    }

    /// Whether a file about one virtual host has it.
    fn is_of_vhosts(self) -> bool {
        matches!(self, Self::Exchanges | Self::Policies | Self::Parameters | Self::Queues | Self::Bindings)
    }

    fn named(name: &str, scope: &Scope) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|category| category.name() == name)?;
        (matches!(scope, Scope::Cluster) || known.is_of_vhosts()).then_some(known)
    }
}

fn no_json() -> ApiError {
    ApiError::BadRequest(NO_JSON.to_owned())
}

fn no_list(category: Category) -> ApiError {
    ApiError::BadRequest(format!("{} must be a list of objects", category.name()))
}

/// Gives each element of a file to `take`. Lists of other names are passed over, as with RabbitMQ.
///
/// # Errors
/// What is wrong, with the file or by `take`.
pub fn each_element(
    file: &[u8],
    scope: &Scope,
    mut take: impl FnMut(Category, &Value) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    // What editors of a certain system put in front of UTF-8.
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file).trim_ascii();
    if file.is_empty() {
        return Ok(());
    }
    let mut wrong = None;
    let mut reader = serde_json::Deserializer::from_slice(file);
    let document = Document { scope, take: &mut take, wrong: &mut wrong };
    let read = document.deserialize(&mut reader).and_then(|()| reader.end());
    match (wrong, read) {
        (Some(wrong), _) => Err(wrong),
        (None, Err(_)) => Err(no_json()),
        (None, Ok(())) => Ok(()),
    }
}

/// The whole file.
struct Document<'a, T> {
    scope: &'a Scope,
    take: &'a mut T,
    /// What is wrong with an element; what is wrong with the JSON the reader says.
    wrong: &'a mut Option<ApiError>,
}

impl<'de, T: FnMut(Category, &Value) -> Result<(), ApiError>> DeserializeSeed<'de> for Document<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: FnMut(Category, &Value) -> Result<(), ApiError>> Visitor<'de> for Document<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of lists")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match Category::named(&name, self.scope) {
                Some(category) => {
                    map.next_value_seed(Elements { category, take: &mut *self.take, wrong: &mut *self.wrong })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// One list.
struct Elements<'a, T> {
    category: Category,
    take: &'a mut T,
    wrong: &'a mut Option<ApiError>,
}

impl<'de, T: FnMut(Category, &Value) -> Result<(), ApiError>> DeserializeSeed<'de> for Elements<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: FnMut(Category, &Value) -> Result<(), ApiError>> Elements<'_, T> {
    fn no_list<E: Error>(self) -> Result<(), E> {
        *self.wrong = Some(no_list(self.category));
        Err(E::custom("no list"))
    }

    fn element(&mut self, text: &str) -> Result<(), ApiError> {
        let name = self.category.name();
        if text.len() > ELEMENT_MAX_BYTES {
            let reason = format!("an element of {name} is longer than {ELEMENT_MAX_BYTES} bytes");
            return Err(ApiError::BadRequest(reason));
        }
        let value: Value = serde_json::from_str(text).map_err(|_| no_json())?;
        if !value.is_object() {
            return Err(no_list(self.category));
        }
        (self.take)(self.category, &value)
    }
}

impl<'de, T: FnMut(Category, &Value) -> Result<(), ApiError>> Visitor<'de> for Elements<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element::<&'de RawValue>()? {
            if let Err(wrong) = self.element(element.get()) {
                *self.wrong = Some(wrong);
                return Err(A::Error::custom("a wrong element"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.no_list()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.no_list()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.no_list()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.no_list()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.no_list()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.no_list()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.no_list()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(file: &str, scope: &Scope) -> Result<Vec<(Category, String)>, ApiError> {
        let mut all = Vec::new();
        each_element(file.as_bytes(), scope, |category, value| {
            all.push((category, value.to_string()));
            Ok(())
        })?;
        Ok(all)
    }

    fn cluster(file: &str) -> Result<Vec<(Category, String)>, ApiError> {
        elements(file, &Scope::Cluster)
    }

    #[test]
    fn elements_come_one_by_one_and_what_is_not_known_is_passed_over() {
        let file = r#"{"rabbit_version":"3.13.7","users":[{"a":1},{"b":[2]}],"colour":[[[]]],"queues":[]}"#;
        let of = |text: &str| (Category::Users, text.to_owned());
        assert_eq!(cluster(file), Ok(vec![of(r#"{"a":1}"#), of(r#"{"b":[2]}"#)]));
        assert_eq!(cluster(&format!("\u{feff} {file}\n")), cluster(file));
        for nothing in ["", "  \n", "{}"] {
            assert_eq!(cluster(nothing), Ok(vec![]));
        }
        let vhost = Scope::Vhost("v".into());
        assert_eq!(elements(r#"{"users":[{"a":1}],"queues":[{}]}"#, &vhost).map(|all| all.len()), Ok(1));
    }

    #[test]
    fn what_is_no_file_is_said_to_be_none() {
        let deep = format!(r#"{{"queues":[{}{}]}}"#, r#"{"k":"#.repeat(1000), "}".repeat(1000));
        for wrong in ["{", "[]", "5", "null", "\"x\"", r#"{"users":[{"na"#, r#"{"users":[{}]} more"#, &deep] {
            assert_eq!(cluster(wrong), Err(no_json()), "{}", &wrong[..wrong.len().min(40)]);
        }
        for other in ["5", "-5", "1.5", "{}", "\"x\"", "true", "null", "[5]", "[[]]", "[null]"] {
            let said = cluster(&format!(r#"{{"users":{other}}}"#));
            assert_eq!(said, Err(no_list(Category::Users)), "{other}");
        }
        let huge = format!(r#"{{"users":[{{"name":"{}"}}]}}"#, "x".repeat(ELEMENT_MAX_BYTES));
        let reason = format!("an element of users is longer than {ELEMENT_MAX_BYTES} bytes");
        assert_eq!(cluster(&huge), Err(ApiError::BadRequest(reason)));
    }
}
