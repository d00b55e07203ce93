//! Value sizes: one size, a mix of sizes, or a range. The size of an object follows from its number.

use std::str::FromStr;

use crate::value::mix;

/// A distribution of value sizes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sizes {
    /// Cumulative share of objects, smallest and largest size in bytes.
    steps: Vec<(f64, u32, u32)>,
}

impl Sizes {
    pub(crate) fn of(&self, object: u64) -> usize {
        let [(_, low, high)] = self.steps[..] else { return self.drawn(object) };
        if low == high { low as usize } else { self.drawn(object) }
    }

    pub(crate) fn max(&self) -> usize {
        self.steps.iter().map(|step| step.2).max().unwrap_or(0) as usize
    }

    fn drawn(&self, object: u64) -> usize {
        let hash = mix(object ^ 0x517e_517e);
        let share = (hash >> 11) as f64 / (1u64 << 53) as f64;
        let last = self.steps.len() - 1;
        let index = self.steps[..last].partition_point(|step| step.0 <= share);
        let (_, low, high) = self.steps[index];
        low as usize + (mix(hash) % u64::from(high - low + 1)) as usize
    }
}

impl FromStr for Sizes {
    type Err = String;

    /// `100`, `10-1000`, or parts of either with weights: `100:70,1000:25,10000-20000:5`.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |word: &str| word.trim().parse::<u32>().map_err(|e| format!("value size {word:?}: {e}"));
        let mut parts = Vec::new();
        for part in text.split(',') {
            let (sizes, weight) = part.split_once(':').unwrap_or((part, "1"));
            let (low, high) = sizes.split_once('-').unwrap_or((sizes, sizes));
            let weight: f64 = weight.trim().parse().map_err(|e| format!("weight {weight:?}: {e}"))?;
            parts.push((weight, number(low)?, number(high)?));
        }
        let total: f64 = parts.iter().map(|part| part.0).sum();
        if parts.iter().any(|&(weight, low, high)| weight.is_nan() || weight <= 0.0 || low > high) {
            return Err(format!("{text}: weights are above 0, and ranges go from small to large"));
        }
        let mut sum = 0.0;
        let steps = parts.into_iter().map(|(weight, low, high)| {
            sum += weight;
            (sum / total, low, high)
        });
        Ok(Self { steps: steps.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_its_shares() {
        let sizes: Sizes = "100:70,1000-1009:30".parse().unwrap();
        let drawn: Vec<usize> = (0..100_000).map(|object| sizes.of(object)).collect();
        let small = drawn.iter().filter(|&&size| size == 100).count();
        assert!((69_000..71_000).contains(&small), "{small}");
        assert!(drawn.iter().all(|&size| size == 100 || (1000..=1009).contains(&size)));
        assert_eq!(sizes.max(), 1009);
        assert_eq!("12".parse::<Sizes>().unwrap().of(99), 12);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "10-1", "5:0", "5:-1", "5:nan", "1,,2"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }
}
