//! A scraped page, read strictly.

use std::collections::{BTreeMap, BTreeSet};

pub struct Family {
    pub kind: String,
    pub help: String,
}

#[derive(Default)]
pub struct Page {
    pub families: BTreeMap<String, Family>,
    /// By name and labels as they are written.
    pub samples: BTreeMap<String, f64>,
}

impl Page {
    /// # Panics
    /// When a line is wrong, a family comes twice, or a sample is not of the family that was begun last, or comes twice.
    pub fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut current = String::new();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line ends");
        for line in text.lines() {
            if let Some(line) = line.strip_prefix("# TYPE ") {
                let (name, kind) = line.split_once(' ').expect("a name and a type");
                assert!(["counter", "gauge", "untyped", "histogram", "summary"].contains(&kind), "{line}");
                current = name.to_owned();
                let family = Family { kind: kind.to_owned(), help: String::new() };
                assert!(page.families.insert(current.clone(), family).is_none(), "{name} comes twice");
            } else if let Some(line) = line.strip_prefix("# HELP ") {
                let (name, help) = line.split_once(' ').expect("a name and what it is");
                assert_eq!(name, current);
                page.families.get_mut(name).expect("begun").help = help.to_owned();
            } else if !line.is_empty() {
                let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
                let name = sample.split('{').next().expect("a name");
                let is_of_it = match page.families[&current].kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"].iter().any(|end| name == format!("{current}{end}")),
                    "summary" => ["", "_sum", "_count"].iter().any(|end| name == format!("{current}{end}")),
                    _ => name == current,
                };
                assert!(is_of_it, "{line}: not of {current}");
                let value = value.parse().unwrap_or_else(|_| panic!("{line}: not a number"));
                assert!(page.samples.insert(sample.to_owned(), value).is_none(), "{sample} comes twice");
            }
        }
        page
    }

    /// The value of a sample.
    pub fn value(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} among {:?}", self.samples.keys()))
    }

    pub fn names(&self) -> BTreeSet<&str> {
        self.families.keys().map(String::as_str).collect()
    }
}
