//! docs/FORMAT.md says what the code says.

use super::batch::BATCH_HEADER_BYTES;
use super::checkpoint::CHECKPOINT_HEADER_BYTES;
use super::meta::META_BYTES;
use super::record::kind;
use super::segment::SEGMENT_HEADER_BYTES;
use super::{FORMAT_VERSION, LogOptions};

const PAGE: &str = include_str!("../../docs/FORMAT.md");

#[track_caller]
fn says(what: &str) {
    assert!(PAGE.contains(what), "docs/FORMAT.md does not say: {what}");
}

/// The offset and length of each field of the table below a heading, up to the next heading.
fn fields(heading: &str) -> Vec<(usize, usize)> {
    let (_, section) = PAGE.split_once(heading).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")).map(|line| line.split(" | "));
    cells.filter_map(|mut cells| Some((cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))).collect()
}

#[test]
fn the_format_page_states_the_version_and_the_sizes() {
    says(&format!("format **{FORMAT_VERSION}**"));
    says(&format!("format version: {FORMAT_VERSION} |"));
    let options = LogOptions::default();
    says(&format!("segments: batches of records, {} MiB each", options.segment_bytes >> 20));
    says(&format!("within {} ms without that", options.sync_interval_ms));
    says(&format!("what of those is above {} MiB while the broker serves", options.load_before_ready_bytes >> 20));
    says(&format!("a batch is closed at {} MiB", options.batch_max_bytes >> 20));
    says(&format!("segments kept for use again | {} |", options.free_segments_max));
}

#[test]
fn the_format_page_draws_every_header_without_a_gap() {
    for (heading, bytes) in [
        (format!("## META: {META_BYTES} bytes"), META_BYTES),
        (format!("## Segments: a header of {SEGMENT_HEADER_BYTES} bytes"), SEGMENT_HEADER_BYTES),
        (format!("## Batches: a header of {BATCH_HEADER_BYTES} bytes"), BATCH_HEADER_BYTES),
        (format!("## Checkpoints: a header of {CHECKPOINT_HEADER_BYTES} bytes"), CHECKPOINT_HEADER_BYTES),
    ] {
        let mut end = 0;
        for (offset, length) in fields(&heading) {
            assert_eq!(offset, end, "{heading}: a field begins where the one before ends");
            end += length;
        }
        assert_eq!(end, bytes, "{heading}");
    }
}

#[test]
fn the_format_page_names_every_tag() {
    for (tag, name) in [
        (kind::ENQUEUE, "enqueue"),
        (kind::REMOVED, "removed"),
        (kind::PURGED, "purged"),
        (kind::QUEUE_DECLARED, "queue declared"),
        (kind::QUEUE_DELETED, "queue deleted"),
        (kind::EXCHANGE_DECLARED, "exchange declared"),
        (kind::EXCHANGE_DELETED, "exchange deleted"),
        (kind::BOUND, "bound"),
        (kind::UNBOUND, "unbound"),
        (kind::DELIVERED, "delivered"),
        (kind::RETURNED, "returned"),
        (kind::VHOST_DECLARED, "vhost declared"),
        (kind::VHOST_DELETED, "vhost deleted"),
        (kind::USER_DECLARED, "user declared"),
        (kind::USER_DELETED, "user deleted"),
        (kind::PERMITTED, "permitted"),
        (kind::FORBIDDEN, "forbidden"),
        (kind::TOPIC_PERMITTED, "topic permitted"),
        (kind::TOPIC_FORBIDDEN, "topic forbidden"),
        (kind::POLICY_PUT, "policy put"),
        (kind::POLICY_DELETED, "policy deleted"),
        (kind::DELAYED_DECLARED, "delayed declared"),
        (kind::VALUES_DECLARED, "values declared"),
        (kind::GLOBAL_PARAMETER_PUT, "parameter put"),
        (kind::GLOBAL_PARAMETER_DELETED, "parameter deleted"),
    ] {
        says(&format!("| {tag} | {name} |"));
    }
    says("Tags 14 and 15 are reserved");
    for tag in [14, 15] {
        let record = [1, 0, 0, 0, tag];
        assert!(super::record::read_record(&mut crate::varint::Cursor::new(&record)).is_err(), "tag {tag}");
    }
}
