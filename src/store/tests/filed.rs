//! Runs tests of the store again over a memory file, and compares the file with the segment table at their end.

use super::disk::{At, Disk};
use super::*;
use std::cell::Cell;

thread_local! {
    static IS_FILED: Cell<bool> = const { Cell::new(false) };
}

/// The same options, over a new file if this thread's tests are to run so.
pub(super) fn over_a_file(options: Options) -> Options {
    if !IS_FILED.get() {
        return options;
    }
    let memory_file = Some(Disk::new().open(&options, At::seconds_later(0)).unwrap());
    Options { memory_file, ..options }
}

fn filed(test: fn()) {
    IS_FILED.set(true);
    test();
    IS_FILED.set(false);
}

macro_rules! filed {
    ($($module:ident :: $test:ident,)*) => {
        $(
            #[test]
            #[cfg_attr(miri, ignore = "Miri maps no files")]
            fn $test() {
                filed(super::$module::$test);
            }
        )*
    };
}

filed!(
    clocks::what_has_expired_on_one_ring_is_gone_on_all,
    clocks::the_time_can_be_set_back,
    evicting::rewriting_the_same_keys_does_not_push_the_rest_out,
    evicting::room_for_a_large_value_is_made_in_turns,
    evicting::the_limit_can_shrink_and_grow,
    evicting::a_lowered_limit_is_reached_little_by_little,
    held::pinned_items_stay_and_cost_no_others,
    held::values_on_their_way_hold_a_bounded_part_of_memory,
    held::small_values_on_their_way_hold_few_segments,
    paced::no_set_copies_much_whatever_has_been_read,
    paced::a_large_value_finds_its_room_beside_others_writes,
    policy::a_large_value_that_comes_back_is_remembered,
    policy::new_items_keep_their_time_beside_a_stream_of_large_values,
    policy::a_large_value_keeps_its_time_beside_a_stream_of_new_items,
    refusing::a_full_store_takes_whatever_needs_no_more_than_it_frees,
    refusing::a_full_store_of_mixed_sizes_takes_overwrites,
    refusing::a_store_over_a_lowered_limit_takes_what_fits_under_it,
    refusing::a_full_store_takes_overwrites_as_they_come,
    sizes::a_value_grows_by_appends_for_ever,
    sizes::any_mix_of_sizes_can_follow_any_other,
    sizes::very_small_caches_work,
    sizes::without_eviction_nothing_accepted_is_lost,
    sweeping::a_second_of_sweeping_is_shared_by_all_rings,
    sweeping::an_expiry_that_is_brought_forward_is_noticed,
);

macro_rules! filed_here {
    ($($test:ident,)*) => {
        $(
            #[test]
            #[cfg_attr(miri, ignore = "Miri maps no files")]
            fn $test() {
                filed(super::$test);
            }
        )*
    };
}

filed_here!(
    what_has_expired_is_reclaimed_without_traffic,
    a_reply_in_flight_outlives_its_item,
    a_dropped_reservation_leaves_nothing,
    a_flush_waits_for_no_stuck_ring,
    every_field_comes_back,
    a_flushed_key_is_reported_once,
    rings_on_threads_read_whole_values,
);
