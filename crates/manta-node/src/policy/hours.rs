//! The hours in which a site lets tasks begin: read from its policy, and compared with the clock of their time zone.
use jiff::Timestamp;
use jiff::tz::TimeZone;
use manta_types::policy::Hours;
use toml::Spanned;

use super::file::{Mistake, mistake};

/// Reads `22:00-06:00` in a time zone by its IANA name; without one, in that of this machine.
pub(super) fn read(asked: &Spanned<String>, zone: Option<&Spanned<String>>, line: u32) -> Result<Hours, Mistake> {
    let text = asked.get_ref();
    let span = text.split_once('-').and_then(|(from, until)| Some((minute(from)?, minute(until)?)));
    let Some((from_minute, until_minute)) = span else {
        let problem = format!("`allow_hours` is `{text}`, which is no span of a day");
        return Err(mistake(asked.span(), problem, "write two times of day with a hyphen, as \"22:00-06:00\""));
    };
    if from_minute == until_minute {
        let problem = format!("the hours of `{text}` begin when they end");
        return Err(mistake(asked.span(), problem, "leave `allow_hours` out where every hour is allowed"));
    }
    let zone = match zone {
        Some(named) if TimeZone::get(named.get_ref()).is_ok() => named.get_ref().clone(),
        Some(named) => {
            let problem =
                format!("`time_zone` is `{}`, which is no time zone that this machine knows", named.get_ref());
            return Err(mistake(named.span(), problem, "write an IANA name, as \"Europe/Berlin\" or \"UTC\""));
        }
        None => TimeZone::system().iana_name().unwrap_or("UTC").to_owned(),
    };
    Ok(Hours { line, from_minute, until_minute, zone, is_open: true })
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Whether it is one of the hours now. A zone that is gone from this machine since has none.
pub(super) fn are_now(hours: &Hours, now: Timestamp) -> bool {
    let Ok(zone) = TimeZone::get(&hours.zone) else { return false };
    let local = now.to_zoned(zone);
    let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
    hours.contain(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_their_zone_and_may_go_past_midnight() {
        let hours = |zone: &str| Hours {
            line: 1,
            from_minute: 22 * 60,
            until_minute: 6 * 60,
            zone: zone.to_owned(),
            is_open: true,
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(are_now(&hours("UTC"), at("2027-01-10T23:30:00Z")));
        assert!(!are_now(&hours("UTC"), at("2027-01-10T06:00:00Z")));
        assert!(are_now(&hours("Europe/Berlin"), at("2027-01-10T21:00:00Z")), "22:00 there");
        assert!(!are_now(&hours("UTC"), at("2027-01-10T21:00:00Z")));
        assert!(!are_now(&hours("Nowhere/None"), at("2027-01-10T23:00:00Z")));
    }
}
