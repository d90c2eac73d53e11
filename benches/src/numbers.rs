//! Medians and quantiles.

/// The value that a share of `share` (0 to 1) of the values do not exceed; 0 of none.
pub fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The middle value, the mean of the two in the middle of an even number; 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles_of_few_and_many() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        let hundred = || (1..=100).map(f64::from);
        assert_eq!((quantile(hundred(), 0.5), quantile(hundred(), 0.99)), (50.0, 99.0));
        assert_eq!(quantile([7.0], 0.99), 7.0);
        assert_eq!(quantile([], 0.5), 0.0);
        assert_eq!(quantile(hundred(), 1.0), 100.0);
    }
}
