//! Item refs and index entries. An item ref is the address of an item as a 36-bit number. An index entry is an item ref and
//! four bits of the key's hash, in five bytes. Plain values, no state.
//!
//! ```text
//! ItemRef   address of the item in units of 4 << n bytes, 36 bits; 0 = none
//! Entry     40 bits, little endian:  unit(36) | tag(4)
//! Hash      64 bits:  [63..57] hashbrown's control byte   [53..50] tag
//!                     [49..18] table of the replica       [17..0]  bucket in the table
//! ```
//!
//! With 4-byte units the 36 bits reach 256 GiB, which serves `-m` up to 64 GiB: the mapping is four times `-m`, half for
//! segments and half for large items. Each doubling of `-m` above that doubles the unit. Every item lies at a multiple of the
//! unit, whatever the unit is: see `arena`.
//!
//! The tag saves a look-up from reading items with other keys. hashbrown compares seven bits of the hash, which let one in 128
//! entries of a bucket's group pass; the tag lets one in 16 of those pass. So about one look-up in 150 compares a key in vain.

use std::sync::atomic::AtomicU32;

/// Number of bits of an item ref, which is an item's address counted in units.
pub(super) const UNIT_BITS: u32 = 36;
/// Smallest unit of item refs, as a shift: 4 bytes, the alignment of the 32-bit atomics in an item's header.
pub(super) const UNIT_SHIFT_MIN: u32 = 2;
/// Largest unit of item refs, as a shift: 32 bytes. With it, item refs reach 2 TiB.
pub(super) const UNIT_SHIFT_MAX: u32 = 5;
/// Length of the longest mapping that item refs can address, bytes.
pub(super) const REACH_MAX: u64 = 1 << (UNIT_BITS + UNIT_SHIFT_MAX);
const TAG_BITS: u32 = 4;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const _: () = assert!(UNIT_BITS + TAG_BITS == 40 && size_of::<Entry>() == 5);
const _: () = assert!((1_usize << UNIT_SHIFT_MIN).is_multiple_of(align_of::<AtomicU32>()));

/// The address of an item: its offset in the mapping, counted in units. 0 names no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemRef(u64);

impl ItemRef {
    /// The ref that names no item.
    pub(super) const NONE: Self = Self(0);

    /// The ref of the item that begins `offset` bytes into the mapping. The ref counts units of `1 << shift` bytes.
    ///
    /// # Panics
    /// If `offset` is not a multiple of `1 << shift`, or is too large for a ref.
    #[inline]
    pub(super) fn new(offset: u64, shift: u32) -> Self {
        let units = offset >> shift;
        assert!(units << shift == offset && units < 1 << UNIT_BITS, "an item lies where a ref can name it");
        Self(units)
    }

    /// The ref whose [`ItemRef::bits`] are `bits`.
    #[inline]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The ref as a number: the form in which the log contains it.
    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// Offset of the item in the mapping, bytes. The ref counts units of `1 << shift` bytes.
    #[inline]
    pub(super) fn offset(self, shift: u32) -> u64 {
        self.0 << shift
    }
}

/// An index entry: an item ref and the tag of the key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry([u8; 5]);

impl Entry {
    /// The index entry of `item`, whose key hashes to `hash`.
    #[inline]
    pub(super) fn new(item: ItemRef, hash: Hash) -> Self {
        let bits = item.0 << TAG_BITS | hash.tag();
        let bytes = bits.to_le_bytes();
        Self([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]])
    }

    #[inline]
    fn bits(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..5].copy_from_slice(&self.0);
        u64::from_le_bytes(bytes)
    }

    /// The item that the entry names.
    #[inline]
    pub(super) fn item(self) -> ItemRef {
        ItemRef(self.bits() >> TAG_BITS)
    }

    /// True if the entry's tag is that of `hash`. If the tags differ, the item's key does not have this hash.
    #[inline]
    pub(super) fn tag_matches(self, hash: Hash) -> bool {
        u64::from(self.0[0]) & TAG_MASK == hash.tag()
    }
}

/// The hash of a key, made with secrets of this process: see `key_hash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(pub(super) u64);

impl Hash {
    /// The four bits of the hash that an [`Entry`] contains.
    #[inline]
    fn tag(self) -> u64 {
        self.0 >> 50 & TAG_MASK
    }

    /// The 32 bits of the hash that choose one of an index's tables.
    #[inline]
    pub(super) fn table_bits(self) -> u32 {
        (self.0 >> 18) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_keeps_item_and_tag() {
        for unit in [1, 2, 0xa_2345_6789, (1 << UNIT_BITS) - 1] {
            let item = ItemRef::new(unit << UNIT_SHIFT_MIN, UNIT_SHIFT_MIN);
            for hash in [0, 1 << 50, 0xf << 50, u64::MAX] {
                let entry = Entry::new(item, Hash(hash));
                assert_eq!(entry.item(), item);
                assert!(entry.tag_matches(Hash(hash)));
                assert!(!entry.tag_matches(Hash(hash ^ 1 << 53)));
            }
        }
    }
}
