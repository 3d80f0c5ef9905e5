//! The calendar's time, as RFC 3339 has it, in UTC.

use std::fmt::{self, Write};

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

pub fn write_time(line: &mut impl Write, unix_ms: u64) -> fmt::Result {
    let (year, month, day) = date(unix_ms / MS_PER_DAY);
    let ms = unix_ms % MS_PER_DAY;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    write!(line, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
fn date(unix_day: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // Years begin in March here, so that the leap day is the last of its year.
    let days = unix_day + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(unix_ms: u64) -> String {
        let mut line = String::new();
        write_time(&mut line, unix_ms).unwrap();
        line
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(time(1_769_860_800_000), "2026-01-31T12:00:00.000Z");
        assert_eq!(time(4_107_542_399_001), "2100-02-28T23:59:59.001Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn days_follow_each_other_for_a_thousand_years() {
        let mut previous = date(0);
        for unix_day in 1..365_243 {
            let (year, month, day) = date(unix_day);
            let follows = match previous {
                (y, 12, 31) => (year, month, day) == (y + 1, 1, 1),
                (y, m, d) => (year, month, day) == (y, m, d + 1) || (year, month, day) == (y, m + 1, 1) && d >= 28,
            };
            assert!(follows, "{year}-{month}-{day} after {previous:?}");
            previous = (year, month, day);
        }
    }
}
