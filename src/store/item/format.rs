//! The format of an item, which the header of `item` shows: offsets of its fields, bits of its marks, and how long it is
//! ([`Layout`]). Constants and pure functions.

use crate::limits::KEY_BYTES_MAX;

pub(super) const EXPTIME: usize = 0;
pub(super) const LAST_ACCESS: usize = 4;
pub(super) const CAS_LOW: usize = 8;
pub(super) const CAS_MIDDLE: usize = 12;
pub(super) const VALUE_LENGTH: usize = 14;
pub(super) const KEY_LENGTH: usize = 16;
pub(super) const MARKS: usize = 17;
/// Bytes of the header that every item has. Client flags and the extension may follow, before the key.
pub(super) const HEADER_BYTES: usize = 18;
pub(super) const FLAGS_BYTES: usize = 4;
pub(super) const EXTENSION_BYTES: usize = 8;
const _: () = assert!(KEY_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(CAS_MIDDLE.is_multiple_of(2));
const _: () = assert!(HEADER_BYTES <= 20 && EXPTIME.is_multiple_of(4) && LAST_ACCESS.is_multiple_of(4));

/// Bits of the longest CAS unique that fits into the header without the extension.
pub(super) const CAS_BITS: u32 = 46;
/// Mask, in the field at [`CAS_MIDDLE`], of the bit that marks a live item. The next two constants are masks in the same field:
/// of the bit that marks a stub, and of the CAS unique's bits.
pub(super) const ALIVE: u16 = 0x8000;
pub(super) const STUB: u16 = 0x4000;
pub(super) const CAS_MASK: u16 = !(ALIVE | STUB);
const _: () = assert!(CAS_BITS == 32 + CAS_MASK.count_ones());

pub(super) const MARK_FLAGS: u8 = 0x01;
pub(super) const MARK_EXTENDED: u8 = 0x02;
pub(super) const MARK_BINARY_KEY: u8 = 0x04;
pub(super) const MARK_FETCHED: u8 = 0x08;
pub(super) const MARK_STALE: u8 = 0x10;
pub(super) const MARK_WON: u8 = 0x20;
pub(super) const HITS_SHIFT: u32 = 6;
pub(super) const HITS_MAX: u8 = 3;

/// The lengths of an item's parts, which decide its size and where the parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Layout {
    pub(in crate::store) key_bytes: usize,
    pub(in crate::store) value_bytes: usize,
    pub(super) has_flags: bool,
    pub(super) extended: bool,
}

impl Layout {
    /// The layout of an item with a key and a value of these lengths, and with these client flags and CAS unique.
    pub(in crate::store) fn new(key_bytes: usize, value_bytes: usize, flags: u32, cas: u64) -> Self {
        assert!(key_bytes <= KEY_BYTES_MAX, "the length of a key is a byte");
        let extended = value_bytes > usize::from(u16::MAX) || cas >> CAS_BITS != 0;
        Self { key_bytes, value_bytes, has_flags: flags != 0, extended }
    }

    /// A layout with room for any flags and CAS unique: for a value that is received before its flags and CAS unique are known.
    pub(in crate::store) fn reservation(key_bytes: usize, value_bytes: usize) -> Self {
        assert!(key_bytes <= KEY_BYTES_MAX, "the length of a key is a byte");
        Self { key_bytes, value_bytes, has_flags: true, extended: true }
    }

    /// Offset of the key in the item, bytes.
    #[inline]
    pub(super) fn key_at(self) -> usize {
        HEADER_BYTES
            + usize::from(self.has_flags) * FLAGS_BYTES
            + usize::from(self.extended) * EXTENSION_BYTES
    }

    /// Bytes of header, key and value, without padding.
    #[inline]
    pub(in crate::store) fn bytes(self) -> usize {
        self.key_at() + self.key_bytes + self.value_bytes
    }
}

/// Offset of the extension in the item, bytes. It follows the client flags, if the item stores any.
#[inline]
pub(super) fn extension_at(has_flags: bool) -> usize {
    HEADER_BYTES + usize::from(has_flags) * FLAGS_BYTES
}
