//! Times as a person types them.

use std::time::Duration;

/// A time with its unit, such as `500ms`, `2s` or `1m`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err("write a number and a unit: 500ms, 2s, 1m".into()),
    };
    let number: f64 = number.parse().map_err(|_| "write a number and a unit: 500ms, 2s, 1m")?;
    let seconds = number * seconds;
    if !(0.01..=600.0).contains(&seconds) {
        return Err("must be between 10ms and 10m".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit_and_a_sane_size() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "2", "s", "-1s", "0s", "1h", "1e9s", "nans", "99999m"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
