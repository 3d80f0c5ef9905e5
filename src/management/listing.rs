//! Long lists: filtering by name, sorting, pages and columns, as RabbitMQ's query parameters ask for them.

use super::http::{ApiError, ApiResult, json_response, json_text};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::HashMap;

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 500;

/// What was asked of a list.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ListQuery {
    page: Option<usize>,
    page_size: usize,
    /// Part of the name.
    name: String,
    sort: Option<String>,
    sort_reverse: bool,
    columns: Vec<String>,
}

impl ListQuery {
    pub fn parse(parameters: &HashMap<String, String>) -> Result<Self, ApiError> {
        let number = |name: &str| match parameters.get(name) {
            None => Ok(None),
            Some(text) => text.parse::<usize>().ok().filter(|number| *number > 0).map(Some).ok_or_else(|| {
                ApiError::BadRequest(format!("invalid value of '{name}': '{text}' is not a positive number"))
            }),
        };
        let is_true = |name: &str| parameters.get(name).is_some_and(|text| text == "true");
        if is_true("use_regex") {
            return Err(ApiError::BadRequest("use_regex is not supported".to_owned()));
        }
        let page_size = number("page_size")?.unwrap_or(PAGE_SIZE_DEFAULT);
        if page_size > PAGE_SIZE_MAX {
            return Err(ApiError::BadRequest(format!("page_size is larger than {PAGE_SIZE_MAX}")));
        }
        let columns = parameters.get("columns").map(String::as_str).unwrap_or_default();
        Ok(Self {
            page: number("page")?,
            page_size,
            name: parameters.get("name").cloned().unwrap_or_default(),
            sort: parameters.get("sort").filter(|column| !column.is_empty()).cloned(),
            sort_reverse: is_true("sort_reverse"),
            columns: columns.split(',').filter(|column| !column.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// The answer for `rows`, of which each is made JSON by `shape` only when it is needed: there may be very many.
    pub fn answer<T>(&self, mut rows: Vec<T>, name: impl Fn(&T) -> String, shape: impl Fn(&T) -> Value) -> ApiResult {
        let total = rows.len();
        if !self.name.is_empty() {
            rows.retain(|row| name(row).contains(&self.name));
        }
        match &self.sort {
            Some(column) => rows.sort_by_cached_key(|row| SortKey(value_at(&shape(row), column).clone())),
            None => rows.sort_by_cached_key(|row| name(row)),
        }
        if self.sort_reverse {
            rows.reverse();
        }
        match self.page {
            None => Ok(json_text(StatusCode::OK, self.text(&rows, shape))),
            Some(page) => self.one_page(page, total, &rows, shape),
        }
    }

    fn text<T>(&self, rows: &[T], shape: impl Fn(&T) -> Value) -> String {
        let mut text = String::from("[");
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&self.columns_of(shape(row)).to_string());
        }
        text.push(']');
        text
    }

    fn one_page<T>(&self, page: usize, total: usize, rows: &[T], shape: impl Fn(&T) -> Value) -> ApiResult {
        let page_count = rows.len().div_ceil(self.page_size).max(1);
        if page > page_count {
            let reason = format!("page out of range, page: {page} size: {} len: {}", self.page_size, rows.len());
            return Err(ApiError::Named("page_out_of_range", reason));
        }
        let start = (page - 1) * self.page_size;
        let items = &rows[start..rows.len().min(start + self.page_size)];
        let answer = json!({
            "filtered_count": rows.len(),
            "item_count": items.len(),
            "items": items.iter().map(|row| self.columns_of(shape(row))).collect::<Vec<_>>(),
            "page": page,
            "page_count": page_count,
            "page_size": self.page_size,
            "total_count": total,
        });
        Ok(json_response(StatusCode::OK, &answer))
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

    fn query(parameters: &[(&str, &str)]) -> Result<ListQuery, ApiError> {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ListQuery::parse(&parameters.collect())
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

    #[test]
    fn pages_outside_the_list_are_refused() {
        let answer = |page: &str| {
            let query = query(&[("page", page), ("page_size", "2")]).unwrap();
            query.answer(vec!["a", "b", "c"], ToString::to_string, |row| json!(row)).map(|answer| answer.status())
        };
        assert_eq!(answer("1"), Ok(StatusCode::OK));
        assert_eq!(answer("2"), Ok(StatusCode::OK));
        let reason = "page out of range, page: 3 size: 2 len: 3".to_owned();
        assert_eq!(answer("3"), Err(ApiError::Named("page_out_of_range", reason)));
        assert!(query(&[("page", "0")]).is_err());
        assert!(query(&[("page_size", "501")]).is_err());
        assert!(query(&[("page", "x")]).is_err());
    }
}
