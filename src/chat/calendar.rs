//! The date that a template may ask for, and `strftime`.
//!
//! Names of months and days are English whatever the host's locale, so that a prompt is the same everywhere.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::Error;

use super::limits::error;

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A date and time of the Gregorian calendar, in whatever time zone the host means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to the month's last day.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl DateTime {
    /// The date and time `seconds` after 1 January 1970, in UTC; what lies outside the years 1 to 9999 is moved to the nearest end.
    pub fn from_unix(seconds: i64) -> Self {
        let seconds = seconds.clamp(-62_135_596_800, 253_402_300_799);
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Howard Hinnant's civil_from_days: eras of 400 years from 1 March of year 0.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let of_era = z.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: (year_of_era + era * 400 + i64::from(month <= 2)) as u16,
            month: month as u8,
            day: (of_year - (153 * shifted + 2) / 5 + 1) as u8,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }

    /// The system's clock, in UTC.
    pub fn now_utc() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// Whether each field lies in its range.
    pub fn is_valid(&self) -> bool {
        let leap = self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let last = match self.month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        (1..=9999).contains(&self.year) && (1..=last).contains(&self.day) && self.hour < 24 && self.minute < 60 && self.second < 60
    }

    /// 1 for the first of January.
    fn day_of_year(&self) -> u32 {
        (1..self.month).map(|month| (28..=31).rev().find(|&day| Self { month, day, ..*self }.is_valid()).map_or(0, u32::from)).sum::<u32>()
            + u32::from(self.day)
    }

    /// 0 for Sunday.
    fn weekday(&self) -> u32 {
        let before = u32::from(self.year) - 1;
        (before * 365 + before / 4 - before / 100 + before / 400 + self.day_of_year()) % 7
    }

    /// Python's `strftime` in the C locale.
    ///
    /// # Errors
    /// A directive that is not one of `aAbBcdDeFHIjmMnpSTtuwxXyYhR%` with the flags `-` and none.
    pub(super) fn format(&self, format: &str) -> Result<String, Error> {
        let mut out = String::with_capacity(format.len() * 2);
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let Some(mut directive) = chars.next() else {
                out.push('%');
                break;
            };
            let bare = directive == '-';
            if bare {
                directive = chars.next().ok_or_else(|| error("strftime_now: a format that ends inside a directive"))?;
            }
            let two = |value: u32| if bare { value.to_string() } else { format!("{value:02}") };
            let (hour, day) = (u32::from(self.hour), u32::from(self.day));
            let month = MONTHS.get(usize::from(self.month).wrapping_sub(1)).copied().unwrap_or("");
            let weekday = DAYS[self.weekday() as usize];
            let text = match directive {
                'a' => weekday[..3].to_owned(),
                'A' => weekday.to_owned(),
                'b' | 'h' => month.get(..3).unwrap_or("").to_owned(),
                'B' => month.to_owned(),
                'c' => self.format("%a %b %e %H:%M:%S %Y")?,
                'd' => two(day),
                'D' | 'x' => self.format("%m/%d/%y")?,
                'e' => format!("{day:2}"),
                'F' => self.format("%Y-%m-%d")?,
                'H' => two(hour),
                'I' => two((hour + 11) % 12 + 1),
                'j' if bare => self.day_of_year().to_string(),
                'j' => format!("{:03}", self.day_of_year()),
                'm' => two(u32::from(self.month)),
                'M' => two(u32::from(self.minute)),
                'n' => "\n".to_owned(),
                'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
                'R' => self.format("%H:%M")?,
                'S' => two(u32::from(self.second)),
                't' => "\t".to_owned(),
                'T' | 'X' => self.format("%H:%M:%S")?,
                'u' => ((self.weekday() + 6) % 7 + 1).to_string(),
                'w' => self.weekday().to_string(),
                'y' => two(u32::from(self.year) % 100),
                'Y' => self.year.to_string(),
                '%' => "%".to_owned(),
                other => return Err(error(format!("strftime_now: the directive %{other} is not supported"))),
            };
            out.push_str(&text);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_from_seconds() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 Thursday 001"),
            (951_827_696, "2000-02-29 12:34:56 Tuesday 060"),
            (1_751_641_567, "2025-07-04 15:06:07 Friday 185"),
            (1_735_689_599, "2024-12-31 23:59:59 Tuesday 366"),
            (-1, "1969-12-31 23:59:59 Wednesday 365"),
            (i64::MAX, "9999-12-31 23:59:59 Friday 365"),
            (i64::MIN, "1-01-01 00:00:00 Monday 001"),
        ] {
            let date = DateTime::from_unix(seconds);
            assert!(date.is_valid(), "{date:?}");
            assert_eq!(date.format("%Y-%m-%d %H:%M:%S %A %j").unwrap(), text);
        }
    }

    #[test]
    fn ranges_and_formats() {
        let date = DateTime { year: 2025, month: 7, day: 4, hour: 0, minute: 6, second: 7 };
        assert_eq!(date.format("%-d %e %I %p %u %w %D|100%% %R").unwrap(), "4  4 12 AM 5 5 07/04/25|100% 00:06");
        assert!(date.format("%Q").is_err());
        for bad in [
            DateTime { month: 13, ..date },
            DateTime { day: 0, ..date },
            DateTime { month: 2, day: 29, ..date },
            DateTime { hour: 24, ..date },
        ] {
            assert!(!bad.is_valid());
        }
    }
}
