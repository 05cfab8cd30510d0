//! Where traces go, as the environment variables of OpenTelemetry say.
use manta_manager::Collector;

use crate::connection::variable;
use crate::report::Failure;

/// The collector that the environment names, if it names one.
pub(crate) fn from_environment() -> Result<Option<Collector>, Failure> {
    read(variable)
}

fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Collector>, Failure> {
    let is = |name: &str, value: &str| variable(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    let whole = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(|url| ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url));
    let base = || {
        let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        Some(("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", base.trim_end_matches('/'))))
    };
    let Some((name, url)) = whole.or_else(base) else { return Ok(None) };
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', ':'])) {
        return Err(Failure::usage(format!("{name} makes `{url}`, which is no address of HTTP"))
            .hint("it looks like `http://collector:4318`; OTEL_TRACES_EXPORTER=none sends no traces"));
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if is(name, "grpc") {
            return Err(Failure::usage(format!("{name} is `grpc`, and traces are sent as http/json"))
                .hint("name the collector's port for HTTP, mostly 4318, or set OTEL_TRACES_EXPORTER=none"));
        }
    }
    let headers = variable("OTEL_EXPORTER_OTLP_TRACES_HEADERS").or_else(|| variable("OTEL_EXPORTER_OTLP_HEADERS"));
    let headers = headers.unwrap_or_default();
    let headers = headers.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(header);
    Ok(Some(Collector { url, headers: headers.collect::<Result<_, _>>()? }))
}

/// `name=value`, the value with its percent signs resolved.
fn header(pair: &str) -> Result<(String, String), Failure> {
    // A header may be a secret: the message does not repeat it.
    let refuse = || {
        let failure = Failure::usage("OTEL_EXPORTER_OTLP_HEADERS holds something that is no `name=value`");
        failure.hint("it looks like `authorization=Bearer%20abc,x-tenant=site`")
    };
    let (name, value) = pair.split_once('=').ok_or_else(refuse)?;
    let name = name.trim();
    let is_token =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte));
    let value = decode(value.trim()).filter(|value| !name.is_empty() && is_token(name) && is_printable(value));
    value.map(|value| (name.to_owned(), value)).ok_or_else(refuse)
}

fn is_printable(value: &str) -> bool {
    value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Option<Collector>, Failure> {
        read(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_environment_names_a_collector_or_none() {
        assert_eq!(of(&[]).unwrap(), None);
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let collector = of(&[base, ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%20c, d=e")]).unwrap().unwrap();
        assert_eq!(collector.url, "http://c:4318/v1/traces");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(collector.headers, [pair("a", "b c"), pair("d", "e")]);
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/x");
        assert_eq!(of(&[base, whole]).unwrap().unwrap().url, "https://c/x");
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(of(&[base, off]).unwrap(), None);
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_name_and_no_secret_is_repeated() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for (pairs, named) in [
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318")], "OTEL_EXPORTER_OTLP_ENDPOINT"),
            (vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http:///x")], "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            (vec![base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "OTEL_EXPORTER_OTLP_PROTOCOL"),
            (vec![base, ("OTEL_EXPORTER_OTLP_HEADERS", "secret")], "OTEL_EXPORTER_OTLP_HEADERS"),
            (vec![base, ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%zz")], "OTEL_EXPORTER_OTLP_HEADERS"),
            (vec![base, ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0a")], "OTEL_EXPORTER_OTLP_HEADERS"),
        ] {
            let failure = of(&pairs).unwrap_err();
            assert!(failure.exit == 2 && failure.message.contains(named), "{failure:?}");
            assert!(!failure.message.contains("secret"), "{failure:?}");
        }
    }
}
