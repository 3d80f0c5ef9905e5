//! The pager against the obvious: a map of pages. And what it makes of a full, a broken and a damaged disk.

use crate::real_disk::TestFolder;
use crate::sim_disk::{Fault, SimDisk};
use leveret::broker::store::PageId;
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::page_queue::PageRequest;
use leveret::storage::pager_thread::spawn_pager;
use leveret::storage::{FileDisk, PageReport, Pager, PagerOptions, StorageError};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeMap;
use std::sync::mpsc::channel;

const FILE_BYTES: u64 = 1000;
/// Dead files that may lie beside those with pages.
const SPARE_FILES: u64 = 2;

fn small() -> PagerOptions {
    PagerOptions { file_bytes: FILE_BYTES, open_files_max: 3, reserve_bytes: 0 }
}

fn bytes_of(page: PageId, length: usize) -> Vec<u8> {
    (0..length).map(|index| (page.0 as usize * 31 + index) as u8).collect()
}

/// A pager and the map that it stands for.
struct Checked {
    disk: SimDisk,
    pager: Pager<SimDisk>,
    pages: BTreeMap<PageId, usize>,
    /// What is expected of reads, in order.
    asked: Vec<PageId>,
    next_page: u64,
    unwritten_bytes: usize,
    stalled: bool,
    failed: Option<StorageError>,
}

impl Checked {
    fn start(disk: SimDisk) -> Self {
        let pager = Pager::start(disk.clone(), small()).unwrap();
        let (pages, asked) = (BTreeMap::new(), Vec::new());
        Self { disk, pager, pages, asked, next_page: 0, unwritten_bytes: 0, stalled: false, failed: None }
    }

    fn request(&mut self, request: PageRequest) {
        self.pager.request(request);
        self.hear();
    }

    fn write(&mut self, length: usize) -> PageId {
        let page = PageId(self.next_page);
        self.next_page += 1;
        self.pages.insert(page, length);
        self.unwritten_bytes += length;
        self.request(PageRequest::Write { page, bytes: bytes_of(page, length) });
        page
    }

    fn read(&mut self, page: PageId) {
        self.asked.push(page);
        self.request(PageRequest::Read(page));
    }

    fn discard(&mut self, page: PageId) {
        self.pages.remove(&page);
        self.request(PageRequest::Discard(page));
    }

    fn step(&mut self) {
        self.pager.step();
        self.hear();
    }

    /// Steps until there is nothing to do.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.pager.has_work() {
                return;
            }
            self.step();
        }
        panic!("it does not come to rest");
    }

    fn hear(&mut self) {
        while let Some(report) = self.pager.take_report() {
            assert!(self.failed.is_none(), "{report:?} after the end");
            match report {
                PageReport::Read { page, bytes } => {
                    assert_eq!(self.asked.remove(0), page, "pages come in the order in which they were asked for");
                    let length = self.pages.remove(&page).expect("a page that was written");
                    assert!(bytes == bytes_of(page, length), "{page:?} is not what was written");
                }
                PageReport::Written { bytes, recycled } => {
                    assert!(recycled.is_none_or(|recycled| recycled.len() == bytes));
                    self.unwritten_bytes = self.unwritten_bytes.checked_sub(bytes).expect("reported once");
                }
                PageReport::Stalled(error) => {
                    assert!(!std::mem::replace(&mut self.stalled, true), "stalled twice: {error}");
                }
                PageReport::Resumed => assert!(std::mem::replace(&mut self.stalled, false), "it was not stalled"),
                PageReport::Failed(error) => self.failed = Some(error),
            }
        }
        assert!(self.failed.is_some() || self.asked.is_empty(), "reads are answered at once");
        assert!(self.disk.open_files() <= small().open_files_max);
    }

    /// Comes to rest on a disk whose faults come to an end.
    fn recover(&mut self) {
        for _ in 0..400 {
            self.request(PageRequest::Retry);
            self.settle();
        }
        assert!(!self.stalled);
        assert_eq!(self.unwritten_bytes, 0, "each queued byte is reported once");
    }

    fn check_space(&self) {
        let live: usize = self.pages.values().sum();
        let most = 2 * live as u64 + (2 + SPARE_FILES) * FILE_BYTES;
        let used = self.disk.bytes_in(Folder::Paging);
        assert!(used <= most, "{used} bytes for {live} alive");
    }

    fn files(&self) -> Vec<String> {
        self.disk.list(Folder::Paging).unwrap()
    }
}

#[derive(Clone, Debug)]
enum Act {
    Write(usize),
    Read(prop::sample::Index),
    Discard(prop::sample::Index),
    Step(usize),
    Retry,
}

fn act() -> impl Strategy<Value = Act> {
    let length = prop_oneof![6 => 0..200_usize, 2 => 200..900_usize, 1 => 900..3000_usize];
    prop_oneof![
        6 => length.prop_map(Act::Write),
        3 => any::<prop::sample::Index>().prop_map(Act::Read),
        2 => any::<prop::sample::Index>().prop_map(Act::Discard),
        6 => (1..5_usize).prop_map(Act::Step),
        1 => Just(Act::Retry),
    ]
}

/// Times of trouble: from which call, for how many, and whether the disk is full.
fn troubles() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
    prop::collection::vec((1..150_u64, 1..20_u64, any::<bool>()), 0..4)
}

fn play(act: &Act, it: &mut Checked) {
    let some_page = |it: &Checked, index: &prop::sample::Index| {
        (!it.pages.is_empty()).then(|| *it.pages.keys().nth(index.index(it.pages.len())).unwrap())
    };
    match act {
        Act::Write(length) => _ = it.write(*length),
        Act::Read(index) => {
            if let Some(page) = some_page(it, index) {
                it.read(page);
            }
        }
        Act::Discard(index) => {
            if let Some(page) = some_page(it, index) {
                it.discard(page);
            }
        }
        Act::Step(times) => (0..*times).for_each(|_| it.step()),
        Act::Retry => it.request(PageRequest::Retry),
    }
}

fn reproducible() -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(reproducible())]

    #[test]
    fn pages_come_back_whole_and_once_whatever_the_disk_does(
        acts in prop::collection::vec(act(), 1..400),
        troubles in troubles(),
    ) {
        let mut it = Checked::start(SimDisk::default());
        for (from, calls, full) in troubles {
            let fault = if full { Fault::Full } else { Fault::Broken };
            (from..from + calls).for_each(|call| it.disk.fail_at(call, fault));
        }
        for act in &acts {
            play(act, &mut it);
        }
        it.recover();
        it.check_space();
        for page in it.pages.keys().copied().filter(|page| !page.0.is_multiple_of(7)).collect::<Vec<_>>() {
            it.discard(page);
        }
        it.recover();
        it.check_space();
        for page in it.pages.keys().copied().collect::<Vec<_>>() {
            it.read(page);
        }
        it.recover();
        prop_assert!(it.failed.is_none());
        prop_assert_eq!(it.files(), Vec::<String>::new());
    }

    /// There is always something to write, so upkeep has to find its time beside it.
    #[test]
    fn pages_that_stay_do_not_pin_the_disk(
        length in 20..300_usize,
        stays_one_in in 5..60_u64,
        window in 1..30_u64,
    ) {
        let mut it = Checked::start(SimDisk::default());
        (0..window).for_each(|_| _ = it.write(length));
        for _ in 0..1500 {
            let page = it.write(length);
            it.step();
            let passing = PageId(page.0 - window);
            if !passing.0.is_multiple_of(stays_one_in) {
                it.read(passing);
            }
            while it.unwritten_bytes > 2 * length {
                it.step();
            }
            let live: usize = it.pages.values().sum();
            let most = 2 * live as u64 + (2 + SPARE_FILES + 2) * FILE_BYTES;
            let used = it.disk.bytes_in(Folder::Paging);
            prop_assert!(used <= most, "{} bytes for {} alive", used, live);
        }
        it.settle();
        it.check_space();
    }
}

#[test]
fn a_page_that_waits_to_be_written_is_read_or_discarded_without_the_disk() {
    let mut it = Checked::start(SimDisk::default());
    let (one, other) = (it.write(100), it.write(200));
    it.read(one);
    it.discard(other);
    assert_eq!(it.unwritten_bytes, 0);
    assert!(!it.pager.has_work());
    assert_eq!(it.disk.calls(), 0);
}

#[test]
fn a_page_larger_than_a_file_gets_one_of_its_own() {
    let mut it = Checked::start(SimDisk::default());
    let small = it.write(10);
    let large = it.write(5000);
    it.settle();
    assert_eq!(it.files().len(), 2);
    it.read(large);
    it.settle();
    assert_eq!(it.disk.bytes_in(Folder::Paging), 10, "no other page will ever need a file of that size");
    it.read(small);
    it.settle();
    assert_eq!(it.files().len(), 0);
}

#[test]
fn what_an_earlier_run_left_is_removed_and_what_is_not_ours_is_not() {
    let mut it = Checked::start(SimDisk::default());
    (0..50).for_each(|_| _ = it.write(300));
    it.settle();
    it.disk.create(Folder::Paging, "README", 0).unwrap();
    let mut it = Checked::start(it.disk.after_stop());
    let page = it.write(300);
    it.step();
    assert_eq!(it.unwritten_bytes, 0, "the first page does not wait for the removal of old ones");
    it.settle();
    assert_eq!(it.files(), ["0000000000000000.page", "README"]);
    it.read(page);
}

#[test]
fn a_full_disk_is_said_once_and_keeps_the_order() {
    let mut it = Checked::start(SimDisk::default());
    let first = it.write(600);
    it.settle();
    it.disk.claim_free_bytes(FILE_BYTES - 1);
    let (second, third) = (it.write(600), it.write(300));
    it.settle();
    assert!(it.stalled);
    it.request(PageRequest::Retry);
    it.settle();
    assert_eq!(it.unwritten_bytes, 900, "the small one waits behind the large one");

    it.read(first);
    it.settle();
    assert!(!it.stalled, "a file died, and can be written again");
    assert_eq!(it.unwritten_bytes, 0);
    it.read(third);
    it.read(second);
}

#[test]
fn a_stall_ends_when_nothing_is_left_to_write() {
    let mut it = Checked::start(SimDisk::default());
    it.disk.claim_free_bytes(0);
    let (one, other) = (it.write(10), it.write(20));
    it.settle();
    assert!(it.stalled);
    it.discard(one);
    it.settle();
    assert!(it.stalled);
    it.read(other);
    assert!(!it.stalled);
}

#[test]
fn the_log_keeps_its_reserve() {
    let disk = SimDisk::default();
    disk.claim_free_bytes(FILE_BYTES + 499);
    let options = PagerOptions { reserve_bytes: 500, ..small() };
    let mut pager = Pager::start(disk, options).unwrap();
    pager.request(PageRequest::Write { page: PageId(0), bytes: vec![1; 10] });
    pager.step();
    let Some(PageReport::Stalled(error)) = pager.take_report() else { panic!("it took the reserve") };
    assert_eq!(error.to_string(), "cannot create paging/0000000000000000.page: no storage space");
}

/// A pager with two pages in a file, and what it says when the second one is asked for after `harm`.
fn said_after(harm: impl FnOnce(&SimDisk)) -> String {
    let mut it = Checked::start(SimDisk::default());
    it.write(100);
    let page = it.write(100);
    it.settle();
    harm(&it.disk);
    it.read(page);
    it.request(PageRequest::Write { page: PageId(7), bytes: vec![] });
    it.request(PageRequest::Read(PageId(0)));
    assert!(!it.pager.has_work(), "nothing is done after the end");
    it.failed.expect("damage is noticed").to_string()
}

#[test]
fn a_page_that_does_not_come_back_whole_ends_all() {
    const FILE: &str = "0000000000000000.page";
    let damaged = "cannot read a page back from paging/0000000000000000.page, byte 100: it is not what was written";
    assert_eq!(said_after(|disk| disk.edit(Folder::Paging, FILE, |bytes| bytes[150] ^= 1)), damaged);
    assert_eq!(said_after(|disk| disk.edit(Folder::Paging, FILE, |bytes| bytes.truncate(180))), damaged);
    // The other page, whole, in its place.
    let swapped = said_after(|disk| {
        disk.edit(Folder::Paging, FILE, |bytes| bytes.copy_within(..100, 100));
    });
    assert_eq!(swapped, damaged);
    let unreadable = said_after(SimDisk::make_unreadable);
    assert!(unreadable.contains("Input/output error"), "{unreadable}");
}

#[test]
fn a_page_that_is_damaged_when_it_is_moved_ends_all() {
    let mut it = Checked::start(SimDisk::default());
    let pages: Vec<PageId> = (0..50).map(|_| it.write(250)).collect();
    it.settle();
    it.disk.make_unreadable();
    for page in pages {
        if !page.0.is_multiple_of(5) {
            it.discard(page);
        }
    }
    it.settle();
    assert!(it.failed.is_some());
}

#[test]
fn the_thread_keeps_pages_on_a_real_disk() {
    let folder = TestFolder::new("pager");
    let disk = FileDisk::open(&folder.0).unwrap();
    let (wakes, woken) = channel();
    let pager = Pager::start(disk.clone(), PagerOptions { reserve_bytes: 0, ..PagerOptions::default() }).unwrap();
    let pager = spawn_pager(pager, move || wakes.send(()).unwrap()).unwrap();

    let length = |page: PageId| 20_000 + 1000 * page.0 as usize;
    for page in (0..100).map(PageId) {
        pager.request(PageRequest::Write { page, bytes: bytes_of(page, length(page)) });
    }
    for page in (0..100).map(PageId) {
        let Some(PageReport::Written { bytes, .. }) = pager.wait_report() else { panic!("{page:?} is not written") };
        assert_eq!(bytes, length(page), "pages are written in their order");
    }
    woken.try_recv().expect("a wake-up");
    assert_eq!(disk.list(Folder::Paging).unwrap(), ["0000000000000000.page"]);

    for page in (50..100).map(PageId) {
        pager.request(PageRequest::Discard(page));
        let asked = PageId(page.0 - 50);
        pager.request(PageRequest::Read(asked));
        let Some(PageReport::Read { page, bytes }) = pager.wait_report() else { panic!("{asked:?} is not read") };
        assert_eq!(page, asked);
        assert!(bytes == bytes_of(page, length(page)));
    }
    assert!(pager.try_report().is_none());

    pager.request(PageRequest::Write { page: PageId(100), bytes: vec![7; 100] });
    pager.wait_report().expect("it is written");
    drop(pager);
    assert_ne!(disk.list(Folder::Paging).unwrap().len(), 0, "a stop does not wait for removals");
    let mut pager = Pager::start(disk.clone(), PagerOptions::default()).unwrap();
    while pager.has_work() {
        pager.step();
    }
    assert_eq!(disk.list(Folder::Paging).unwrap().len(), 0, "the next start removes what is left");
}
