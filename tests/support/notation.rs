//! The text side of the notation: words, quoted strings, `key=value` arguments.
//!
//! A string is `bare`, or `'quoted'` with `\n \r \0 \\ \' \xNN`, and `'ab'*3` repeats it. The notation is written by us,
//! in the transcripts, so a mistake in it panics with the text at fault.

/// Splits a line at spaces outside quotes, braces, brackets and parentheses.
pub fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for character in line.chars() {
        if escaped {
            escaped = false;
        } else if quoted {
            escaped = character == '\\';
            quoted = character != '\'';
        } else {
            match character {
                '\'' => quoted = true,
                '{' | '[' | '(' => depth += 1,
                '}' | ']' | ')' => depth -= 1,
                ' ' if depth == 0 => {
                    words.push(String::new());
                    continue;
                }
                _ => {}
            }
        }
        words.last_mut().expect("never empty").push(character);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The bytes that a string of the notation stands for.
pub fn string(text: &str) -> Vec<u8> {
    if !text.starts_with('\'') {
        return text.as_bytes().to_vec();
    }
    let mut cursor = Cursor::new(text);
    let bytes = cursor.quoted();
    assert!(cursor.at_end(), "something follows the string in {text}");
    bytes
}

/// A number: decimal, `0x` hexadecimal, or `true` and `false` for one bit.
pub fn number(text: &str) -> u64 {
    match text {
        "true" => 1,
        "false" => 0,
        _ => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("not a number: {text}")),
            None => text.parse().unwrap_or_else(|_| panic!("not a number: {text}")),
        },
    }
}

/// Renders bytes the way they are written in transcripts.
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("'");
    let mut rest = bytes;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(valid) => valid,
            Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).expect("valid up to there"),
        };
        for character in valid.chars() {
            match character {
                '\'' | '\\' => text.extend(['\\', character]),
                control if control.is_control() => text.push_str(&format!("\\x{:02x}", control as u32)),
                other => text.push(other),
            }
        }
        rest = &rest[valid.len()..];
        if let Some((byte, after)) = rest.split_first() {
            text.push_str(&format!("\\x{byte:02x}"));
            rest = after;
        }
    }
    text.push('\'');
    text
}

/// The `key=value` words and bare flags after a method's name. Each is taken once; what nobody takes is a mistake.
pub struct Arguments(Vec<(String, String)>);

impl Arguments {
    pub fn parse(words: &[String]) -> Self {
        let pairs = words.iter().map(|word| match word.split_once('=') {
            Some((key, value)) if !word.starts_with('\'') => (key.to_owned(), value.to_owned()),
            _ => (word.clone(), "true".to_owned()),
        });
        Self(pairs.collect())
    }

    pub fn take(&mut self, key: &str) -> Option<String> {
        let position = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(position).1)
    }

    pub fn take_string(&mut self, key: &str) -> Option<Vec<u8>> {
        self.take(key).map(|text| string(&text))
    }

    pub fn take_number(&mut self, key: &str) -> Option<u64> {
        self.take(key).map(|text| number(&text))
    }

    pub fn finish(self) {
        assert!(self.0.is_empty(), "arguments that nothing takes: {:?}", self.0);
    }
}

/// A place in a piece of notation.
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0 }
    }

    pub fn at_end(&self) -> bool {
        self.at == self.text.len()
    }

    pub fn peek(&self) -> u8 {
        *self.text.get(self.at).unwrap_or(&0)
    }

    pub fn next(&mut self) -> u8 {
        let byte = self.peek();
        assert!(!self.at_end(), "ends too early: {}", String::from_utf8_lossy(self.text));
        self.at += 1;
        byte
    }

    pub fn expect(&mut self, wanted: u8) {
        let found = self.next();
        let text = String::from_utf8_lossy(self.text);
        assert_eq!(found as char, wanted as char, "at {} in {text}", self.at - 1);
    }

    pub fn skip_spaces(&mut self) {
        while self.peek() == b' ' {
            self.at += 1;
        }
    }

    /// A bare word: everything up to a delimiter of the notation.
    pub fn word(&mut self) -> &'a str {
        let start = self.at;
        while !self.at_end() && !b" =:,{}[]()".contains(&self.peek()) {
            self.at += 1;
        }
        std::str::from_utf8(&self.text[start..self.at]).expect("cut at ASCII delimiters")
    }

    /// A quoted string with its optional `*count`.
    pub fn quoted(&mut self) -> Vec<u8> {
        self.expect(b'\'');
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                b'\'' => break,
                b'\\' => bytes.push(self.escape()),
                byte => bytes.push(byte),
            }
        }
        if self.peek() == b'*' {
            self.at += 1;
            let count = number(self.word());
            bytes = bytes.repeat(count as usize);
        }
        bytes
    }

    fn escape(&mut self) -> u8 {
        match self.next() {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let digits = [self.next(), self.next()];
                let digits = std::str::from_utf8(&digits).expect("hexadecimal digits");
                u8::from_str_radix(digits, 16).expect("hexadecimal digits")
            }
            literal => literal,
        }
    }
}
