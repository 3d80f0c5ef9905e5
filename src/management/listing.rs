//! Long lists: filtering by name, sorting, pages and columns, as RabbitMQ's query parameters ask for them.

use super::http::{ApiError, ApiResult, json_response, ok};
use super::long_list::{Breather, Permit, Text};
use super::rates::Range;
use axum::http::StatusCode;
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 500;
/// The longest pattern of names, in bytes.
const PATTERN_MAX_BYTES: usize = 500;
/// What a pattern may take in memory, in bytes. Its time grows with the names alone: the engine never goes back.
const PATTERN_MEMORY_MAX_BYTES: usize = 1 << 20;

/// One thing, with the columns that were asked for.
pub fn one(parameters: &HashMap<String, String>, row: Value) -> ApiResult {
    ok(&with_columns(parameters, row))
}

/// A list of few, with the columns that were asked for.
pub fn few(parameters: &HashMap<String, String>, rows: Vec<Value>) -> ApiResult {
    ok(&Value::Array(rows.into_iter().map(|row| with_columns(parameters, row)).collect()))
}

fn with_columns(parameters: &HashMap<String, String>, row: Value) -> Value {
    ListQuery { columns: columns(parameters), ..ListQuery::default() }.columns_of(row)
}

fn columns(parameters: &HashMap<String, String>) -> Vec<String> {
    let columns = parameters.get("columns").map(String::as_str).unwrap_or_default();
    columns.split(',').filter(|column| !column.is_empty()).map(str::to_owned).collect()
}

/// What a row is found by, and sorted by if nothing else was asked for.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct RowName {
    vhost: Option<Arc<str>>,
    name: String,
}

impl RowName {
    /// The name of something that is in no virtual host.
    pub fn plain(name: impl Into<String>) -> Self {
        Self { vhost: None, name: name.into() }
    }

    pub fn in_vhost(vhost: &Arc<str>, name: impl Into<String>) -> Self {
        Self { vhost: Some(vhost.clone()), name: name.into() }
    }
}

/// What was asked of a list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    page: Option<Page>,
    sort: Option<String>,
    sort_reverse: bool,
    columns: Vec<String>,
}

/// A part of a list. Only who asks for one may choose by name, as with RabbitMQ.
#[derive(Clone, Debug)]
struct Page {
    number: usize,
    size: usize,
    names: Option<Regex>,
}

impl Page {
    /// `None`: the whole list was asked for.
    fn parse(parameters: &HashMap<String, String>) -> Result<Option<Self>, ApiError> {
        let number = |name: &str| match parameters.get(name).map(|text| text.parse()) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(ApiError::BadRequest("Pagination parameters are invalid".to_owned())),
        };
        let (page, page_size) = (number("page")?, number("page_size")?);
        let Some(number) = page else { return Ok(None) };
        let size = page_size.unwrap_or(PAGE_SIZE_DEFAULT);
        if number == 0 || size == 0 || size > PAGE_SIZE_MAX {
            let reason = format!("Invalid pagination parameters: page number {number}, page size {size}");
            return Err(ApiError::Named("invalid_pagination_parameters", reason));
        }
        Ok(Some(Self { number, size, names: names(parameters)? }))
    }
}

/// Which names are asked for, in whole or in part, or by a pattern; `None`: all of them.
pub fn names(parameters: &HashMap<String, String>) -> Result<Option<Regex>, ApiError> {
    let name = parameters.get("name").map(String::as_str).unwrap_or_default();
    let is_pattern = parameters.get("use_regex").is_some_and(|text| text == "true");
    match (name.is_empty(), is_pattern) {
        (true, _) => Ok(None),
        (false, true) => pattern(name).map(Some),
        (false, false) => matcher(&regex::escape(name)).map(Some),
    }
}

/// Of what and how far back samples are asked for: `lengths_age` and `lengths_incr` in seconds, and their kin. What is no number
/// asks for nothing, as with RabbitMQ.
#[derive(Clone, Copy, Default)]
pub struct Ranges {
    pub lengths: Option<Range>,
    pub messages: Option<Range>,
    pub data: Option<Range>,
    pub node: Option<Range>,
}

impl Ranges {
    pub fn parse(parameters: &HashMap<String, String>) -> Self {
        let number = |name: String| parameters.get(&name)?.parse().ok();
        let range = |name: &str| Range::new(number(format!("{name}_age"))?, number(format!("{name}_incr"))?);
        Self {
            lengths: range("lengths"),
            messages: range("msg_rates"),
            data: range("data_rates"),
            node: range("node_stats"),
        }
    }
}

/// Number and size of the part of a list that was asked for, of a list that there is only in parts.
pub fn bounded_page(parameters: &HashMap<String, String>) -> Result<(usize, usize), ApiError> {
    Ok(Page::parse(parameters)?.map_or((1, PAGE_SIZE_DEFAULT), |page| (page.number, page.size)))
}

fn pattern(text: &str) -> Result<Regex, ApiError> {
    if text.len() > PATTERN_MAX_BYTES {
        let reason = "name filter regex is too long".to_owned();
        return Err(ApiError::Named("invalid_pagination_parameters", reason));
    }
    matcher(text)
}

/// Names match wherever the pattern does, in capitals or not.
fn matcher(pattern: &str) -> Result<Regex, ApiError> {
    let regex = RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(PATTERN_MEMORY_MAX_BYTES)
        .dfa_size_limit(PATTERN_MEMORY_MAX_BYTES)
        .build();
    regex.map_err(|error| ApiError::BadRequest(format!("Pagination parameters are invalid: {error}")))
}

impl ListQuery {
    pub fn parse(parameters: &HashMap<String, String>) -> Result<Self, ApiError> {
        Ok(Self {
            page: Page::parse(parameters)?,
            sort: parameters.get("sort").filter(|column| !column.is_empty()).cloned(),
            sort_reverse: parameters.get("sort_reverse").is_some_and(|text| text == "true"),
            columns: columns(parameters),
        })
    }

    /// What the rows are sorted by if nothing was asked for; those that are equal stay in their order.
    pub fn or_sorted_by(mut self, column: &str) -> Self {
        self.sort.get_or_insert_with(|| column.to_owned());
        self
    }

    /// The answer for `rows`, of which each is made JSON by `shape` only when it is needed: there may be very many, and then
    /// they have `room`.
    pub async fn answer<T>(
        &self,
        room: Option<Permit>,
        mut rows: Vec<T>,
        name: impl Fn(&T) -> RowName,
        shape: impl Fn(&T) -> Value,
    ) -> ApiResult {
        let total = rows.len();
        let mut breather = Breather::default();
        if let Some(Page { names: Some(names), .. }) = &self.page {
            rows.retain(|row| names.is_match(&name(row).name));
        }
        match &self.sort {
            Some(column) => {
                let mut keyed = Vec::with_capacity(rows.len());
                for row in rows {
                    keyed.push((SortKey(value_at(&shape(&row), column).clone()), row));
                    breather.row().await;
                }
                keyed.sort_by(|(one, _), (other, _)| one.cmp(other));
                rows = keyed.into_iter().map(|(_, row)| row).collect();
            }
            None => rows.sort_by_cached_key(|row| name(row)),
        }
        if self.sort_reverse {
            rows.reverse();
        }
        if let Some(page) = &self.page {
            return self.one_page(page, total, &rows, shape);
        }
        let mut text = Text::default();
        for row in rows {
            text.push(&self.columns_of(shape(&row)).to_string());
            breather.row().await;
        }
        Ok(text.answer(room))
    }

    fn one_page<T>(&self, page: &Page, total: usize, rows: &[T], shape: impl Fn(&T) -> Value) -> ApiResult {
        let Page { number, size, .. } = *page;
        // The page behind a full last one is empty, and not out of range.
        let Some(rest) = number.checked_sub(1).and_then(|before| rows.get(before.checked_mul(size)?..)) else {
            let reason = format!("Page out of range, page: {number} page size: {size}, len: {}", rows.len());
            return Err(ApiError::Named("page_out_of_range", reason));
        };
        let items = &rest[..rest.len().min(size)];
        let answer = json!({
            "filtered_count": rows.len(),
            "item_count": items.len(),
            "items": items.iter().map(|row| self.columns_of(shape(row))).collect::<Vec<_>>(),
            "page": number,
            "page_count": rows.len().div_ceil(size),
            "page_size": size,
            "total_count": total,
        });
        Ok(json_response(StatusCode::OK, &answer))
    }

    /// Whether nothing but these columns, or parts of them, is asked for and sorted by.
    pub fn is_only_of(&self, columns: &[&str]) -> bool {
        !self.columns.is_empty()
            && self.columns.iter().chain(&self.sort).all(|column| {
                let whole = column.split_once('.').map_or(column.as_str(), |(whole, _)| whole);
                columns.contains(&whole)
            })
    }

    /// A row with only the columns that were asked for: `name`, or `message_stats.publish` for a part of a part.
    fn columns_of(&self, row: Value) -> Value {
        if self.columns.is_empty() {
            return row;
        }
        let mut chosen = Value::Object(Map::new());
        for column in &self.columns {
            let value = value_at(&row, column);
            if value.is_null() {
                continue;
            }
            let mut place = &mut chosen;
            for part in column.split('.') {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                place = &mut place[part];
            }
            *place = value.clone();
        }
        chosen
    }
}

fn value_at<'a>(row: &'a Value, column: &str) -> &'a Value {
    column.split('.').fold(row, |value, part| value.get(part).unwrap_or(&Value::Null))
}

/// Values in order: numbers by size, text by its bytes, everything else by what it is.
struct SortKey(Value);

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |value: &Value| match value {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::Array(_) | Value::Object(_) => 4,
        };
        match (&self.0, &other.0) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)),
        }
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SortKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SortKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn query(parameters: &[(&str, &str)]) -> Result<ListQuery, ApiError> {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ListQuery::parse(&parameters.collect())
    }

    #[test]
    fn what_is_asked_for_may_be_little() {
        let is_only_of = |parameters: &[(&str, &str)]| query(parameters).unwrap().is_only_of(&["name", "tags"]);
        assert!(is_only_of(&[("columns", "name")]) && is_only_of(&[("columns", "tags,name"), ("sort", "name")]));
        assert!(is_only_of(&[("columns", "name,tags.0"), ("sort", "tags.1")]));
        assert!(!is_only_of(&[("columns", "messages_details.name")]));
        assert!(!is_only_of(&[]) && !is_only_of(&[("columns", "name,messages")]));
        assert!(!is_only_of(&[("columns", "name"), ("sort", "messages")]));
    }

    #[test]
    fn columns_may_be_parts_of_parts() {
        let row = json!({"name": "q", "message_stats": {"publish": 1, "ack": 2}, "vhost": "/"});
        let columns = |text| query(&[("columns", text)]).unwrap().columns_of(row.clone());
        assert_eq!(columns("name,message_stats.ack"), json!({"name": "q", "message_stats": {"ack": 2}}));
        assert_eq!(columns("nothing"), json!({}));
        assert_eq!(columns(""), row);
    }

    #[test]
    fn columns_that_contradict_each_other_do_no_harm() {
        let row = json!({"name": {"part": 1}});
        let chosen = query(&[("columns", "name.part,name,name.part.more")]).unwrap().columns_of(row);
        assert_eq!(chosen, json!({"name": {"part": 1}}));
    }

    #[test]
    fn values_of_all_kinds_have_an_order() {
        let mut keys = [json!("b"), json!(10), json!(null), json!("a"), json!(9)].map(SortKey);
        keys.sort();
        assert_eq!(keys.map(|key| key.0), [json!(null), json!(9), json!(10), json!("a"), json!("b")]);
    }

    fn page_of(rows: &[&'static str], parameters: &[(&str, &str)]) -> Result<Vec<&'static str>, ApiError> {
        let shaped = RefCell::new(Vec::new());
        let query = query(parameters)?;
        let answer = query.answer(
            None,
            rows.to_vec(),
            |row| RowName::plain(*row),
            |row| {
                shaped.borrow_mut().push(*row);
                json!(row)
            },
        );
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(answer)?;
        Ok(shaped.into_inner())
    }

    #[test]
    fn pages_outside_the_list_are_refused() {
        let page = |number: &str| page_of(&["a", "b", "c"], &[("page", number), ("page_size", "2")]);
        assert_eq!(page("1"), Ok(vec!["a", "b"]));
        assert_eq!(page("2"), Ok(vec!["c"]));
        let reason = "Page out of range, page: 3 page size: 2, len: 3".to_owned();
        assert_eq!(page("3"), Err(ApiError::Named("page_out_of_range", reason)));
        assert!(page(&usize::MAX.to_string()).is_err());
        assert_eq!(page_of(&[], &[("page", "1")]), Ok(vec![]));
        assert_eq!(page_of(&["a", "b"], &[("page", "2"), ("page_size", "2")]), Ok(vec![]), "behind a full last one");
        for (page, page_size) in [("0", "1"), ("1", "0"), ("1", "501")] {
            let reason = format!("Invalid pagination parameters: page number {page}, page size {page_size}");
            let refused = query(&[("page", page), ("page_size", page_size)]).unwrap_err();
            assert_eq!(refused, ApiError::Named("invalid_pagination_parameters", reason));
        }
        assert!(query(&[("page", "1"), ("page_size", "500")]).is_ok());
        assert!(query(&[("page", "x")]).is_err());
    }

    #[test]
    fn names_are_chosen_by_a_part_or_a_pattern_in_capitals_or_not() {
        const NAMES: [&str; 5] = ["Ab", "a+", "aa", "b", "c.d"];
        let named = |name: &str, use_regex: &str| {
            page_of(&NAMES, &[("page", "1"), ("name", name), ("use_regex", use_regex)]).unwrap()
        };
        assert_eq!(named("a", "false"), ["Ab", "a+", "aa"]);
        assert_eq!(named("A", ""), ["Ab", "a+", "aa"]);
        assert_eq!(named("+", "maybe"), ["a+"]);
        assert_eq!(named(".*", "false"), NAMES[..0]);
        assert_eq!(named("^a", "true"), ["Ab", "a+", "aa"]);
        assert_eq!(named("^a+$", "true"), ["aa"]);
        assert_eq!(named("(?:a|B)$", "true"), ["Ab", "aa", "b"]);
        assert_eq!(named("", "true"), NAMES);
        assert_eq!(page_of(&NAMES, &[("name", "b"), ("use_regex", "true")]).unwrap(), NAMES, "nobody asked for a page");
    }

    #[test]
    fn patterns_have_a_limit_in_length_and_in_memory() {
        let query = |name: &str| query(&[("page", "1"), ("name", name), ("use_regex", "true")]);
        assert!(query(&"a".repeat(PATTERN_MAX_BYTES)).is_ok());
        assert!(query(&"a".repeat(PATTERN_MAX_BYTES + 1)).is_err());
        assert!(query("(").is_err());
        assert!(query("(?:a{1000}){1000}").is_err());
        assert!(query("a(?=b)").is_err(), "the engine that never goes back doesn't look ahead either");
    }
}
