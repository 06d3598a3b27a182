//! Text to [`Expr`]. Each step says where it stands, so that an error can point there.

use super::{Comparison, Expr, Field, Kind, MAX_DEPTH, MAX_QUERY_LEN, QueryError, Value};

/// Whether a character may stand in a word without quotes.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '*' | '/' | '+' | '@')
}

/// Whether a word has a meaning of its own.
pub(super) fn is_reserved(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "all" | "online" | "offline")
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(String),
    Comparison(Comparison),
    Colon,
    Open,
    Close,
    End,
}

impl Token<'_> {
    /// As an error names it.
    fn name(&self) -> String {
        match self {
            Self::Word(word) => format!("'{word}'"),
            Self::Quoted(text) => format!("\"{text}\""),
            Self::Comparison(comparison) => format!("'{}'", comparison.symbol()),
            Self::Colon => "':'".to_owned(),
            Self::Open => "'('".to_owned(),
            Self::Close => "')'".to_owned(),
            Self::End => "the end".to_owned(),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Expr, QueryError> {
    if text.len() > MAX_QUERY_LEN {
        return Err(QueryError {
            what: format!("a query has at most {MAX_QUERY_LEN} bytes"),
            query: text.chars().take(60).collect(),
            column: 60.min(text.chars().count()),
        });
    }
    let mut parser = Parser {
        text,
        at: 0,
        token: Token::End,
        start: 0,
        depth: 0,
    };
    parser.advance()?;
    let root = parser.either()?;
    match parser.token {
        Token::End => Ok(root),
        _ => Err(parser.expected("'and', 'or' or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Bytes read.
    at: usize,
    token: Token<'a>,
    /// Where the token starts.
    start: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, at: usize, what: impl Into<String>) -> QueryError {
        // One line, whatever was given: the mark below it has to point at something.
        let query = self.text.replace(|c: char| c.is_control(), " ");
        let column = self
            .text
            .get(..at)
            .map_or(0, |before| before.chars().count());
        QueryError {
            what: what.into(),
            query,
            column,
        }
    }

    fn expected(&self, what: &str) -> QueryError {
        self.error(
            self.start,
            format!("here should be {what}, and not {}", self.token.name()),
        )
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self) -> Result<(), QueryError> {
        self.at = self.text.len() - self.rest().trim_start().len();
        self.start = self.at;
        let rest = self.rest();
        let (token, len) = match rest.chars().next() {
            None => (Token::End, 0),
            Some('(') => (Token::Open, 1),
            Some(')') => (Token::Close, 1),
            Some(':') => (Token::Colon, 1),
            Some('"') => self.quoted(rest)?,
            Some('=') => {
                let len = if rest.starts_with("==") { 2 } else { 1 };
                (Token::Comparison(Comparison::Equal), len)
            }
            Some('<') if rest.starts_with("<=") => (Token::Comparison(Comparison::LessOrEqual), 2),
            Some('<') => (Token::Comparison(Comparison::Less), 1),
            Some('>') if rest.starts_with(">=") => {
                (Token::Comparison(Comparison::GreaterOrEqual), 2)
            }
            Some('>') => (Token::Comparison(Comparison::Greater), 1),
            Some('!') if rest.starts_with("!=") => (Token::Comparison(Comparison::NotEqual), 2),
            Some(c) if is_word(c) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let word = rest.get(..end).unwrap_or_default();
                (Token::Word(word), end)
            }
            Some(c) => {
                return Err(self.error(
                    self.start,
                    format!(
                        "'{}' has no meaning here; a text with such characters is written in double quotes",
                        c.escape_debug()
                    ),
                ));
            }
        };
        self.at += len;
        self.token = token;
        Ok(())
    }

    fn quoted(&self, rest: &str) -> Result<(Token<'a>, usize), QueryError> {
        let mut text = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Ok((Token::Quoted(text), at + 1)),
                '\\' => match chars.next() {
                    Some((_, c)) => text.push(c),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(self.error(self.start, "these quotes are not closed"))
    }

    fn is(&self, word: &str) -> bool {
        self.token == Token::Word(word)
    }

    fn either(&mut self) -> Result<Expr, QueryError> {
        let first = self.both()?;
        let mut parts = vec![first];
        while self.is("or") {
            self.advance()?;
            parts.push(self.both()?);
        }
        Ok(flat(parts, Expr::Or))
    }

    fn both(&mut self) -> Result<Expr, QueryError> {
        let first = self.unary()?;
        let mut parts = vec![first];
        while self.is("and") {
            self.advance()?;
            parts.push(self.unary()?);
        }
        Ok(flat(parts, Expr::And))
    }

    fn unary(&mut self) -> Result<Expr, QueryError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(self.start, "this is nested too deeply"));
        }
        let expr = if self.is("not") {
            self.advance()?;
            Expr::Not(Box::new(self.unary()?))
        } else if self.token == Token::Open {
            self.advance()?;
            let inner = self.either()?;
            if self.token != Token::Close {
                return Err(self.expected("')'"));
            }
            self.advance()?;
            inner
        } else {
            self.term()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn term(&mut self) -> Result<Expr, QueryError> {
        let (word, start) = match self.token {
            Token::Word(word) => (word, self.start),
            _ => {
                return Err(
                    self.expected("a field such as 'version', or 'all', 'online', 'not', '('")
                );
            }
        };
        let whole = match word {
            "all" => Some(Expr::All),
            "online" => Some(Expr::Online(true)),
            "offline" => Some(Expr::Online(false)),
            "and" | "or" => return Err(self.expected("a field such as 'version'")),
            _ => None,
        };
        self.advance()?;
        if let Some(expr) = whole {
            return Ok(expr);
        }
        if word == "tag" {
            return self.tag();
        }
        let Some(field) = Field::ALL.into_iter().find(|field| field.name() == word) else {
            let names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
            return Err(self.error(
                start,
                format!(
                    "there is no field '{word}'; fields are {}, tag:…",
                    names.join(", ")
                ),
            ));
        };
        let comparison = match self.token {
            Token::Comparison(comparison) => comparison,
            Token::Colon => Comparison::Equal,
            _ => return Err(self.expected("a comparison: = != < <= > >=")),
        };
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if ordered && field.kind() == Kind::Text {
            return Err(self.error(
                self.start,
                format!(
                    "'{}' is a text: it is = or != a value, not more or less",
                    field.name()
                ),
            ));
        }
        self.advance()?;
        let start = self.start;
        let text = self.value("a value")?;
        let value = match field.kind() {
            Kind::Text => Value::Text(text),
            Kind::Version if text.contains('*') => {
                return Err(self.error(
                    start,
                    "a version is compared with a version, such as 1.2; there is no '*' in it",
                ));
            }
            Kind::Version => Value::Text(text),
            Kind::Number => Value::Number(text.parse().map_err(|_| {
                self.error(
                    start,
                    format!("'{}' is compared with a number", field.name()),
                )
            })?),
            Kind::Age => Value::Age(seconds(&text).ok_or_else(|| {
                self.error(
                    start,
                    "this is a time such as 90s, 15m, 6h or 2d: how long ago",
                )
            })?),
        };
        Ok(Expr::Compare(field, comparison, value))
    }

    fn tag(&mut self) -> Result<Expr, QueryError> {
        if self.token != Token::Colon {
            return Err(self.expected("':' and a tag's name, as in tag:site=berlin"));
        }
        self.advance()?;
        let key = self.value("a tag's name")?;
        let comparison = match self.token {
            Token::Comparison(comparison @ (Comparison::Equal | Comparison::NotEqual)) => {
                comparison
            }
            Token::Comparison(_) => {
                return Err(self.expected("= or !=, since a tag's value is a text"));
            }
            _ => return Ok(Expr::Tagged(key)),
        };
        self.advance()?;
        let value = self.value("the tag's value")?;
        Ok(Expr::Tag(key, comparison, value))
    }

    fn value(&mut self, what: &str) -> Result<String, QueryError> {
        let text = match &self.token {
            Token::Word(word) => (*word).to_owned(),
            Token::Quoted(text) => text.clone(),
            _ => return Err(self.expected(what)),
        };
        self.advance()?;
        Ok(text)
    }
}

/// One part is itself.
fn flat(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

/// `90s`, `15m`, `6h`, `2d`.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let number = text.strip_suffix(unit)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    i64::from(number).checked_mul(factor)
}
