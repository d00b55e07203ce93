//! Prefetching: a hint to the processor that memory is about to be read. No state.

#![cfg_attr(
    all(target_arch = "x86_64", not(miri)),
    expect(unsafe_code, reason = "the intrinsic takes a raw pointer")
)]

pub(super) const CACHE_LINE_BYTES: usize = 64;

/// Starts loading the cache line at `at`, which may be any address.
#[inline]
pub(super) fn prefetch(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing that the program can see and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

/// Starts loading the cache lines of the `bytes` from `at` on.
#[inline]
pub(super) fn prefetch_range(at: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(CACHE_LINE_BYTES) {
        prefetch(at.wrapping_add(offset));
    }
}
