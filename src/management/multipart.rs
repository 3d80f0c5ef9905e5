//! Forms with files (RFC 7578), as browsers send them: what a field of one holds.

use memchr::memmem::Finder;

/// Fields of a form.
const FIELDS_MAX: usize = 64;
/// The head of a field, in bytes.
const HEAD_MAX_BYTES: usize = 4 << 10;
/// The longest line between fields (RFC 2046, 5.1.1).
const BOUNDARY_MAX_BYTES: usize = 70;

/// Whether a content type says that it is such a form.
pub fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// A field's name, and what it holds.
pub type Field<'a> = (&'a str, &'a [u8]);

/// The fields of a form.
///
/// # Errors
/// What is wrong with it.
pub fn fields<'a>(content_type: &str, body: &'a [u8]) -> Result<Vec<Field<'a>>, &'static str> {
    let boundary = parameter(content_type, "boundary").ok_or("a form says what is between its fields")?;
    if boundary.is_empty() || boundary.len() > BOUNDARY_MAX_BYTES {
        return Err("what is between the fields of a form has 1 to 70 characters");
    }
    let delimiter = format!("\r\n--{boundary}");
    let (first, finder) = (&delimiter.as_bytes()[2..], Finder::new(&delimiter));
    // What is before the first field is for nobody.
    let mut rest = match body.strip_prefix(first) {
        Some(rest) => rest,
        None => after(body, &finder).ok_or("the form has no fields")?.1,
    };
    let mut fields = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(fields);
        }
        if fields.len() == FIELDS_MAX {
            return Err("the form has too many fields");
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let field = rest[padding..].strip_prefix(b"\r\n").ok_or("a field of the form does not begin")?;
        let (field, next) = after(field, &finder).ok_or("a field of the form does not end")?;
        fields.push(read(field)?);
        rest = next;
    }
}

/// What is before a delimiter, and behind it.
fn after<'a>(bytes: &'a [u8], finder: &Finder<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let at = finder.find(bytes)?;
    Some((&bytes[..at], &bytes[at + finder.needle().len()..]))
}

fn read(field: &[u8]) -> Result<Field<'_>, &'static str> {
    const NO_HEAD: &str = "a field of the form has no head";
    let end = field[..field.len().min(HEAD_MAX_BYTES)].windows(4).position(|four| four == b"\r\n\r\n");
    let (head, value) = field.split_at(end.ok_or(NO_HEAD)?);
    let head = std::str::from_utf8(head).map_err(|_| NO_HEAD)?;
    let is_disposition = |(name, _): &(&str, &str)| name.trim().eq_ignore_ascii_case("content-disposition");
    let disposition = head.split("\r\n").filter_map(|line| line.split_once(':')).find(is_disposition);
    let name = disposition.and_then(|(_, disposition)| parameter(disposition, "name"));
    Ok((name.ok_or("a field of the form has no name")?, &value[4..]))
}

/// A parameter of a header, in quotes or not.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = header;
    loop {
        rest = rest.split_once(';')?.1.trim_start();
        let (key, value) = rest.split_once('=')?;
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.trim());
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=x-y";

    fn read_form(body: &str) -> Result<Vec<(String, String)>, &'static str> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let fields = fields(TYPE, body.as_bytes())?;
        Ok(fields.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect())
    }

    #[test]
    fn a_browsers_form_is_taken_apart() {
        let body = "--x-y\r\nContent-Disposition: form-data; filename=\"a;name=b.json\"; name=\"file\"\r\n\
                    Content-Type: application/json\r\n\r\n{\"a\":\r\n--x\r\n1}\r\n--x-y  \r\n\
                    content-disposition: form-data; name=redirect\r\n\r\n/#/\r\n--x-y--\r\n";
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read_form(body), Ok(vec![field("file", "{\"a\":\r\n--x\r\n1}"), field("redirect", "/#/")]));
        assert_eq!(read_form(&format!("preamble\r\n{body}epilogue")).map(|fields| fields.len()), Ok(2));
        assert_eq!(read_form("--x-y--"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_form_is_refused_wherever_it_ends() {
        let body = "--x-y\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nvalue\r\n--x-y--";
        assert!(read_form(body).is_ok());
        for end in 0..body.len() {
            assert!(read_form(&body[..end]).is_err(), "{:?}", &body[..end]);
        }
        for wrong in
            ["--x-y\r\n\r\n\r\nvalue\r\n--x-y--", "--x-y\r\na: b\r\n\r\nvalue\r\n--x-y--", "--x-yvalue\r\n--x-y--"]
        {
            assert!(read_form(wrong).is_err(), "{wrong:?}");
        }
        let many = format!("{}--x-y--", "--x-y\r\nContent-Disposition: ;name=b\r\n\r\n\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(read_form(&many), Err("the form has too many fields"));
        let long = format!("--x-y\r\na: {}\r\n\r\n\r\n--x-y--", "b".repeat(HEAD_MAX_BYTES));
        assert_eq!(read_form(&long), Err("a field of the form has no head"));
        for wrong in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"x"] {
            assert!(fields(wrong, body.as_bytes()).is_err(), "{wrong}");
        }
        assert!(fields(&format!("multipart/form-data; boundary={}", "x".repeat(71)), b"").is_err());
    }

    #[test]
    fn a_form_is_told_by_its_type() {
        assert!(is_form(TYPE) && is_form("Multipart/Form-Data") && !is_form("multipart/mixed; a=multipart/form-data"));
        assert_eq!(parameter("a; b=\"c;d\" ;Boundary=\"e f\"; g=h", "boundary"), Some("e f"));
        assert_eq!(parameter("a; b=c", "boundary"), None);
    }
}
