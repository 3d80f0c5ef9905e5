//! Lists as a box for each cell, with the header and lines of rabbitmqctl's.

use super::{plain, printable};
use serde_json::Value;

/// Nothing at all without rows.
pub fn table(text: &mut String, columns: &[&str], rows: &[Vec<Value>]) {
    if rows.is_empty() {
        return;
    }
    let header: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let cells = |row: &Vec<Value>| row.iter().map(|cell| printable(&plain(cell))).collect();
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    rule(text, &widths, ["┌", "┬", "┐"]);
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            rule(text, &widths, ["├", "┼", "┤"]);
        }
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("│ {cell:width$} "));
        }
        text.push_str("│\n");
    }
    rule(text, &widths, ["└", "┴", "┘"]);
}

fn rule(text: &mut String, widths: &[usize], [left, middle, right]: [&str; 3]) {
    let parts: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
    text.push_str(&format!("{left}{}{right}\n", parts.join(middle)));
}
