//! Moved records in a replay: they say where live messages are, and never that there are any.

use super::super::record::{BadRecord, Record, read_record};
use super::super::segment::SegmentNumber;
use super::super::state::{State, release};
use crate::varint::Cursor;

impl State {
    /// Notes that of the messages in those records the live ones are in `segment`.
    ///
    /// # Errors
    /// What is behind the last good record is none.
    pub(in super::super) fn relocate(&mut self, records: &[u8], segment: SegmentNumber) -> Result<(), BadRecord> {
        let mut records = Cursor::new(records);
        let mut placed = 0;
        while !records.is_empty() {
            let Record::Enqueue(enqueue) = read_record(&mut records)? else { continue };
            for route in enqueue.routes {
                let Some(queue) = self.queues.get_mut(&route.queue) else { continue };
                let Some(before) = queue.live.segment_of(route.sequence) else { continue };
                if before != segment {
                    queue.live.insert(route.sequence, segment);
                    release(&mut self.segments, before, 1);
                    placed += 1;
                }
            }
        }
        self.count_placed(segment, placed);
        Ok(())
    }
}
