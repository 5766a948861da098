//! How an object is cut into parts.
//!
//! Parts are equal, because some servers want that, and so large that 10,000 suffice for what is expected. Where
//! more comes than was expected, the last thousand grow.

/// The smallest part, unless it is the last: S3 asks for 5 MiB.
const SMALLEST: u64 = 8 * MIB;

/// The largest part that is ever sent; S3 takes 5 GiB. A part lies in memory, but no database that exists comes near.
const LARGEST: u64 = 4096 * MIB;

/// How many parts are equal; S3 takes 10,000 in all.
const EQUAL: u64 = 9_000;

/// After so many parts they double, where more comes than was expected.
const GROW_EVERY: u64 = 100;

/// Bytes that may be in flight, beside the part that fills and the first one: part of the memory bound.
const IN_FLIGHT: u64 = 24 * MIB;

const MIB: u64 = 1 << 20;

/// The cut of one object.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    size: u64,
}

impl Parts {
    /// For an object of about `total` bytes.
    pub fn of(total: u64) -> Self {
        let size = total.div_ceil(EQUAL).next_multiple_of(MIB);
        Parts {
            size: size.clamp(SMALLEST, LARGEST),
        }
    }

    /// Bytes of part `number`, counted from 1; the last one may be smaller.
    pub fn size(self, number: u64) -> u64 {
        let doublings = number.saturating_sub(EQUAL).div_ceil(GROW_EVERY).min(16);
        (self.size << doublings).min(LARGEST)
    }

    /// How many parts at the start hold the first `head` bytes; at least one.
    pub fn holding(self, head: u64) -> usize {
        usize::try_from(head.div_ceil(self.size)).unwrap_or(1).max(1)
    }

    /// How many permits there are for what is in flight.
    pub fn permits() -> usize {
        (IN_FLIGHT / MIB) as usize
    }

    /// How many permits a part of so many bytes takes: never more than there are, so that one is always let through.
    pub fn cost(bytes: usize) -> u32 {
        (bytes as u64).div_ceil(MIB).clamp(1, IN_FLIGHT / MIB) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;

    /// How many parts an object of `bytes` takes that was expected to have `expected`.
    fn count(expected: u64, bytes: u64) -> u64 {
        let parts = Parts::of(expected);
        let (mut number, mut sum) = (0, 0);
        while sum < bytes {
            number += 1;
            sum += parts.size(number);
        }
        number
    }

    #[test]
    fn ten_thousand_parts_suffice_for_any_database() {
        for bytes in [1, 8 * MIB, 70 * GIB, 71 * GIB, 500 * GIB, TIB, 4 * TIB, 5 * TIB] {
            assert!(count(bytes, bytes) <= EQUAL, "{bytes} as expected");
            assert!(count(bytes / 2, bytes) <= 10_000, "{bytes} where half was expected");
        }
        assert!(count(0, 500 * GIB) <= 10_000, "where nothing was known");
    }

    #[test]
    fn parts_are_equal_as_long_as_it_comes_as_expected() {
        for total in [1, 70 * GIB, TIB] {
            let parts = Parts::of(total);
            assert!((1..=EQUAL).all(|number| parts.size(number) == parts.size));
            assert!(parts.size >= 5 * MIB && parts.size <= 5 * GIB);
        }
        assert_eq!(Parts::of(TIB).size(1), 117 * MIB);
    }

    #[test]
    fn what_is_in_flight_is_bounded() {
        assert_eq!(Parts::cost(1), 1);
        assert_eq!(Parts::permits() / Parts::cost(SMALLEST as usize) as usize, 3);
        assert_eq!(Parts::cost(LARGEST as usize) as usize, Parts::permits());
    }

    #[test]
    fn the_head_is_held() {
        let parts = Parts::of(0);
        assert_eq!(
            [0, 1, SMALLEST, SMALLEST + 1].map(|head| parts.holding(head)),
            [1, 1, 1, 2]
        );
    }
}
