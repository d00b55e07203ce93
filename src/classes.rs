//! memcached's slab classes. They serve only as a scale of sizes in statistics, dumps and log lines; the store has no slabs.
//!
//! The table is built once at start and then only read.

/// The chunk sizes of memcached's slab classes. The classes are numbered from 1.
#[derive(Clone, Debug)]
pub struct Classes {
    chunk_bytes: Vec<u32>,
    /// The class of each size up to [`SMALL_BYTES`]; the index is the size divided by 8, rounded up. Exact, because chunk sizes
    /// are multiples of 8.
    small: [u8; SMALL_BYTES / 8 + 1],
}

/// The largest size whose class is read from the table `small`, bytes. The class of a larger size is found by binary search.
const SMALL_BYTES: usize = 2048;

/// Size of memcached's item struct, bytes. An item also has a key with a terminator, a value and a line end.
const ITEM_STRUCT_BYTES: u64 = 48;
const CLASSES_MAX: usize = 63;

impl Classes {
    /// Makes the classes that follow from `-f factor`, `-n chunk_bytes_min` and `-o slab_chunk_max`. Sizes are in bytes.
    pub fn new(factor: f64, chunk_bytes_min: u32, chunk_bytes_max: u32) -> Self {
        let mut sizes = Vec::new();
        let mut size = ITEM_STRUCT_BYTES as u32 + chunk_bytes_min;
        while sizes.len() < CLASSES_MAX - 1 && f64::from(size) <= f64::from(chunk_bytes_max) / factor {
            size = size.next_multiple_of(8);
            sizes.push(size);
            size = (f64::from(size) * factor) as u32;
        }
        sizes.push(chunk_bytes_max);
        Self::of_chunks(sizes)
    }

    /// Makes the classes that follow from `-o slab_sizes` and `-o slab_chunk_max`. Sizes are in bytes.
    pub fn with_sizes(sizes: &[u32], chunk_bytes_max: u32) -> Self {
        let sizes = sizes.iter().take(CLASSES_MAX - 1).map(|size| size.next_multiple_of(8));
        Self::of_chunks(sizes.filter(|&size| size < chunk_bytes_max).chain([chunk_bytes_max]).collect())
    }

    fn of_chunks(chunk_bytes: Vec<u32>) -> Self {
        let mut classes = Self { chunk_bytes, small: [0; SMALL_BYTES / 8 + 1] };
        for eighths in 0..=SMALL_BYTES / 8 {
            classes.small[eighths] = classes.search(eighths as u64 * 8);
        }
        classes
    }

    /// Returns the chunk sizes of classes 1, 2, …, bytes.
    pub fn chunk_bytes(&self) -> &[u32] {
        &self.chunk_bytes
    }

    /// Returns the class of an item whose size, as [`item_bytes`] counts it, is `bytes`. Items larger than the last class count
    /// in the last class.
    #[inline]
    pub fn of(&self, bytes: u64) -> u8 {
        match self.small.get((bytes as usize).div_ceil(8)) {
            Some(&class) => class,
            None => self.search(bytes),
        }
    }

    fn search(&self, bytes: u64) -> u8 {
        let at = self.chunk_bytes.partition_point(|&chunk| u64::from(chunk) < bytes);
        (at.min(self.chunk_bytes.len() - 1) + 1) as u8
    }
}

/// Returns the size that memcached would account for an item, bytes. It is the sum of memcached's item struct, the key and a
/// terminator, the cas, the flags unless they are 0, the value and a line end.
pub fn item_bytes(key_bytes: usize, flags: u32, value_bytes: usize) -> u64 {
    ITEM_STRUCT_BYTES + key_bytes as u64 + 1 + 8 + if flags == 0 { 0 } else { 4 } + value_bytes as u64 + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_follows_the_given_sizes() {
        let classes = Classes::with_sizes(&[100, 200], 1024);
        assert_eq!(classes.chunk_bytes(), &[104, 200, 1024]);
        assert_eq!((classes.of(104), classes.of(105), classes.of(5000)), (1, 2, 3));
    }

    #[test]
    fn the_default_table_matches_memcached() {
        let classes = Classes::new(1.25, 48, 512 * 1024);
        assert_eq!(&classes.chunk_bytes()[..11], &[96, 120, 152, 192, 240, 304, 384, 480, 600, 752, 944]);
        assert_eq!(classes.chunk_bytes().len(), 39);
        assert_eq!(classes.of(96), 1);
        assert_eq!(classes.of(97), 2);
        assert_eq!(classes.of(1 << 30), 39);
        for bytes in 0..5000 {
            assert_eq!(classes.of(bytes), classes.search(bytes), "{bytes}");
        }
    }
}
