//! Finds the ends of words, eight bytes at a time. Words are short, so a search with a set-up cost would not pay. Pure
//! functions.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Returns the position of the first space in `bytes`, or the length of `bytes` if there is none.
#[inline]
pub fn space(bytes: &[u8]) -> usize {
    // In `zeros` a space has become 0. The lowest high bit that the result has set is that of the lowest such byte.
    find(
        bytes,
        |&byte| byte == b' ',
        |eight| {
            let zeros = eight ^ (ONES * 0x20);
            zeros.wrapping_sub(ONES) & !zeros & HIGHS
        },
    )
}

/// Returns the position of the first space or control byte in `bytes`, or the length of `bytes` if there is none.
#[inline]
pub fn blank(bytes: &[u8]) -> usize {
    // Exact for the lowest byte that is below 0x21. Higher bytes may be marked wrongly.
    find(bytes, |&byte| byte < 0x21, |eight| eight.wrapping_sub(ONES * 0x21) & !eight & HIGHS)
}

/// Returns the position of the first byte for which `is` holds, or the length of `bytes` if there is none. `mark` is the same
/// test on a word of eight bytes: it sets the high bit of the first such byte, and no high bit of an earlier byte.
#[inline(always)]
fn find(bytes: &[u8], is: impl Fn(&u8) -> bool, mark: impl Fn(u64) -> u64) -> usize {
    let Some(last) = bytes.last_chunk::<8>() else { return bytes.iter().position(is).unwrap_or(bytes.len()) };
    let (eights, rest) = bytes.as_chunks::<8>();
    for (place, eight) in eights.iter().enumerate() {
        let marked = mark(u64::from_le_bytes(*eight));
        if marked != 0 {
            return place * 8 + marked.trailing_zeros() as usize / 8;
        }
    }
    if rest.is_empty() {
        return bytes.len();
    }
    // The last eight bytes without those already searched. Zeros are shifted in after the end.
    let marked = mark(u64::from_le_bytes(*last) >> (64 - 8 * rest.len()));
    bytes.len().min(eights.len() * 8 + marked.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_agree_with_a_plain_search() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(..40))
                .map(|_| if random.u8(..16) == 0 { random.u8(..0x22) } else { random.u8(..) })
                .collect();
            assert_eq!(space(&bytes), bytes.iter().position(|&byte| byte == b' ').unwrap_or(bytes.len()));
            assert_eq!(blank(&bytes), bytes.iter().position(|&byte| byte < 0x21).unwrap_or(bytes.len()));
        }
    }
}
