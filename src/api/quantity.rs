//! Kubernetes quantities (`500m`, `1.5Gi`, `1e3`) as exact numbers that can be compared.

use std::str::FromStr;

use serde_json::Value;

/// An amount in billionths of one, which is as fine as Kubernetes keeps it; finer ones are rounded away from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nano: i128,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity such as 500m, 512Mi or 2Gi")]
pub struct InvalidQuantity(String);

/// Kubernetes caps quantities at 2^63 - 1; nothing larger makes a difference.
const MOST: i128 = (i64::MAX as i128) * NANO;
const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// Of a string or a number, as the API takes both.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        }
    }
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }
    pub fn is_positive(self) -> bool {
        self.nano > 0
    }
    /// Whole units, rounded up.
    pub fn units(self) -> i128 {
        self.nano.div_euclid(NANO) + i128::from(self.nano.rem_euclid(NANO) > 0)
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let invalid = || InvalidQuantity(text.chars().take(64).collect());
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(invalid());
        }
        let scale = Scale::of(suffix).ok_or_else(invalid)?;
        // Only more digits than any cap allows fail to parse.
        let whole = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(i128::MAX) };
        let amount = scale.of_whole(whole).saturating_add(scale.of_places(decimal_places(fraction))).min(MOST);
        Ok(Self { nano: if negative { -amount } else { amount } })
    }
}

/// What a number is multiplied by.
#[derive(Clone, Copy)]
enum Scale {
    /// 2 to this.
    Binary(u32),
    /// 10 to this.
    Decimal(i32),
}

impl Scale {
    fn of(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "" => Self::Decimal(0),
            "n" => Self::Decimal(-9),
            "u" => Self::Decimal(-6),
            "m" => Self::Decimal(-3),
            "k" => Self::Decimal(3),
            "M" => Self::Decimal(6),
            "G" => Self::Decimal(9),
            "T" => Self::Decimal(12),
            "P" => Self::Decimal(15),
            "E" => Self::Decimal(18),
            "Ki" => Self::Binary(10),
            "Mi" => Self::Binary(20),
            "Gi" => Self::Binary(30),
            "Ti" => Self::Binary(40),
            "Pi" => Self::Binary(50),
            "Ei" => Self::Binary(60),
            _ => return suffix.strip_prefix(['e', 'E']).and_then(Self::of_exponent),
        })
    }

    fn of_exponent(digits: &str) -> Option<Self> {
        // Beyond this every amount is above the cap or below a billionth.
        const FAR: i32 = 60;
        let plain = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let far = if digits.starts_with('-') { -FAR } else { FAR };
        Some(Self::Decimal(digits.parse().unwrap_or(far).clamp(-FAR, FAR)))
    }

    /// Billionths of `whole` times the scale.
    fn of_whole(self, whole: i128) -> i128 {
        match self {
            Self::Binary(bits) => whole.saturating_mul(1 << bits).saturating_mul(NANO),
            Self::Decimal(exponent) => shifted(whole, exponent + 9),
        }
    }

    /// Billionths of `places` quintillionths (1e-18) times the scale.
    fn of_places(self, places: i128) -> i128 {
        match self {
            // Below 10^18 times 2^60: no overflow.
            Self::Binary(bits) => shifted(places << bits, -9),
            Self::Decimal(exponent) => shifted(places, exponent - 9),
        }
    }
}

/// `amount` times 10 to `power`, rounded up, saturating.
fn shifted(amount: i128, power: i32) -> i128 {
    match 10i128.checked_pow(power.unsigned_abs()) {
        Some(factor) if power >= 0 => amount.saturating_mul(factor),
        Some(divisor) => amount / divisor + i128::from(amount % divisor != 0),
        None if amount == 0 => 0,
        None if power > 0 => i128::MAX,
        None => 1,
    }
}

/// The first 18 decimal places as a number; further ones round it up.
fn decimal_places(fraction: &str) -> i128 {
    const PLACES: usize = 18;
    let (kept, dropped) = fraction.split_at(fraction.len().min(PLACES));
    let number = format!("{kept:0<PLACES$}").parse().unwrap_or(0);
    number + i128::from(dropped.bytes().any(|byte| byte != b'0'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn amounts_compare_like_the_numbers_they_are(
            one in 0u64..1 << 40, other in 0u64..1 << 40,
            left in proptest::sample::select(vec![("Ki", 1_024u128), ("Mi", 1 << 20), ("k", 1_000), ("", 1), ("e3", 1_000)]),
            right in proptest::sample::select(vec![("Ki", 1_024u128), ("M", 1_000_000), ("", 1), ("E2", 100)]),
        ) {
            let (first, second) = (nano(&format!("{one}{}", left.0)), nano(&format!("{other}{}", right.0)));
            prop_assert_eq!(first.cmp(&second), (u128::from(one) * left.1).cmp(&(u128::from(other) * right.1)));
        }

        #[test]
        fn no_text_stops_the_parser(text in "[0-9.eE+KMGimnu-]{0,80}|\\PC{0,8}") {
            prop_assert!(text.parse::<Quantity>().is_ok_and(|quantity| quantity.nano.abs() <= MOST) || text.parse::<Quantity>().is_err());
        }
    }

    fn nano(text: &str) -> i128 {
        text.parse::<Quantity>().unwrap().nano
    }

    #[test]
    fn equal_amounts_are_equal_however_they_are_written() {
        for (one, other) in [
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("2E", "2e18"),
            (".5", "500m"),
            ("5.", "5"),
            ("+1", "1"),
            ("0.5Ki", "512"),
            ("1e-3", "1m"),
            ("1e-99999999999", "1n"),
        ] {
            assert_eq!(nano(one), nano(other), "{one} {other}");
        }
        assert_eq!(Quantity::of(&json!(2)), Quantity::of(&json!("2000m")));
        assert_eq!(Quantity::of(&json!(1.5)), Quantity::of(&json!("1.5")));
    }

    #[test]
    fn amounts_are_ordered_and_capped() {
        assert!(nano("2Gi") > nano("2G") && nano("-1") < nano("0") && nano("1.0000000000000000001Gi") > nano("1Gi"));
        assert_eq!(nano("1e99999999999"), MOST);
        assert_eq!(nano("99999999999999999999999999999999999999999999Ei"), MOST);
        assert_eq!((nano("0.1n"), nano("-0.1n")), (1, -1));
        assert_eq!("1.5".parse::<Quantity>().unwrap().units(), 2);
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "-", ".", "Gi", "1gi", "1 Gi", "1Gi ", "1.2.3", "1e", "1e+", "0x1", "1GiB", "1,5", "--1", "1i"]
        {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
        assert_eq!(Quantity::of(&json!(true)), None);
    }
}
