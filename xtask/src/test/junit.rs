//! Reads the little that is needed of the JUnit reports that pytest and nextest write.

/// One test case of a report.
pub(super) struct Case<'a> {
    pub(super) name: String,
    /// Everything between the case's tags.
    body: &'a str,
}

impl Case<'_> {
    /// The value of an attribute of the first element of this name inside the case.
    pub(super) fn attribute_of(&self, element: &str, attribute: &str) -> Option<String> {
        let at = self.body.find(&format!("<{element}"))?;
        attribute_in(self.body[at..].split_once('>')?.0, attribute)
    }

    /// The text of the first element of this name inside the case.
    pub(super) fn text_of(&self, element: &str) -> Option<String> {
        let (_, rest) = self.body.split_once(&format!("<{element}>"))?;
        Some(unescape(rest.split_once(&format!("</{element}>"))?.0))
    }
}

/// Every test case of a report that has something inside it; a plain pass has nothing.
pub(super) fn cases(report: &str) -> Vec<Case<'_>> {
    let case = |text| -> Option<Case<'_>> {
        let text: &str = text;
        let (head, rest) = text.split_once('>')?;
        if head.ends_with('/') {
            return None;
        }
        Some(Case { name: attribute_in(head, "name")?, body: rest.split("</testcase>").next()? })
    };
    report.split("<testcase").skip(1).filter_map(case).collect()
}

fn attribute_in(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescape(rest.split_once('"')?.0))
}

fn unescape(text: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#10;", " "),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    named.iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}
