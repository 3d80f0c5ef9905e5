//! The program's allocator: mimalloc, asked the short way where that is right.
//!
//! The `mimalloc` crate asks for an alignment with every allocation, for which mimalloc takes a detour of about a hundred
//! instructions; nearly all that this program allocates needs no more than what every block of mimalloc has.

use libmimalloc_sys::{
    mi_collect, mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};
use std::alloc::{GlobalAlloc, Layout};

/// What every block of mimalloc is aligned to, in bytes, whatever its size.
const BLOCK_ALIGNMENT: usize = align_of::<usize>();

/// mimalloc.
pub struct Allocator;

/// Gives memory that this thread freed back to the system, as far as whole pages of it are free.
pub fn give_back() {
    // SAFETY: may be called at any time; what is in use stays.
    unsafe { mi_collect(true) }
}

// SAFETY: mimalloc's functions are an allocator: blocks are as large and as aligned as is asked for, and theirs until
// they are freed; a null pointer says that there is no memory. Blocks of both kinds of calls may be freed and grown by
// either.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and any power of two may be asked for.
        unsafe {
            match layout.align() <= BLOCK_ALIGNMENT {
                true => mi_malloc(layout.size()),
                false => mi_malloc_aligned(layout.size(), layout.align()),
            }
        }
        .cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match layout.align() <= BLOCK_ALIGNMENT {
                true => mi_zalloc(layout.size()),
                false => mi_zalloc_aligned(layout.size(), layout.align()),
            }
        }
        .cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller has the block from here.
        unsafe { mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller has the block from here.
        unsafe {
            match layout.align() <= BLOCK_ALIGNMENT {
                true => mi_realloc(block.cast(), size),
                false => mi_realloc_aligned(block.cast(), size, layout.align()),
            }
        }
        .cast()
    }
}
