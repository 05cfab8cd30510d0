//! Server-sent events (the WHATWG HTML standard, section 9.2), read from bytes that arrive in pieces of any size.

/// Bytes of one event; a longer one is not ours.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SseEvent {
    /// Its id, where it has one.
    pub(crate) id: Option<String>,
    /// Its data lines, joined.
    pub(crate) data: String,
}

/// A stream that does not keep to the standard or its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    #[error("an event is longer than 64 MiB")]
    TooLong,
    #[error("an event is not UTF-8")]
    NotText,
}

/// Collects bytes and gives the events that are complete.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    after_return: bool,
    id: Option<String>,
    data: String,
    has_data: bool,
}

impl SseParser {
    /// Takes the next bytes and appends every event they complete to `events`.
    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), SseError> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let second_half = end == 0 && rest[0] == b'\n' && self.after_return && self.line.is_empty();
            self.after_return = rest[end] == b'\r';
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if !second_half {
                self.end_line(events)?;
            }
        }
        if !rest.is_empty() {
            self.after_return = false;
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.data.len() > EVENT_BYTES_MAX { Err(SseError::TooLong) } else { Ok(()) }
    }

    fn end_line(&mut self, events: &mut Vec<SseEvent>) -> Result<(), SseError> {
        let line = String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| SseError::NotText)?;
        if line.is_empty() {
            let (id, data) = (self.id.take(), std::mem::take(&mut self.data));
            if std::mem::take(&mut self.has_data) {
                events.push(SseEvent { id, data });
            }
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" => self.id = Some(value.to_owned()),
            // Comments (an empty field), `event` and `retry` change nothing here: the data says what it is.
            _ => {}
        }
        if self.data.len() > EVENT_BYTES_MAX { Err(SseError::TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, data: &str) -> SseEvent {
        SseEvent { id: id.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text = ": hello\r\n\r\nid: sw:1\nevent: x\ndata: {\"a\":1}\n\ndata:one\ndata: two\r\n\r\nretry: 5\n\ndata\n\nid: 9\ndata: é";
        let expected = [event(Some("sw:1"), "{\"a\":1}"), event(None, "one\ntwo"), event(None, "")];
        for size in 1..text.len() {
            let (mut parser, mut events) = (SseParser::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                parser.feed(piece, &mut events).unwrap();
            }
            assert_eq!(events, expected, "pieces of {size}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(SseParser::default().feed(b"data: \xff\n", &mut Vec::new()), Err(SseError::NotText));
    }

    #[test]
    fn an_event_that_never_ends_is_refused() {
        let (mut parser, mut events) = (SseParser::default(), Vec::new());
        let piece = vec![b'x'; 8 << 20];
        let outcome: Result<Vec<()>, _> = (0..9).map(|_| parser.feed(&piece, &mut events)).collect();
        assert_eq!(outcome, Err(SseError::TooLong));
    }
}
