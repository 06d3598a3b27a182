//! Which devices: a small language for people, `version < 1.2 and tag:site=berlin and chip:esp32c3`.
//!
//! ```text
//! query = and { "or" and }
//! and   = not { "and" not }
//! not   = "not" not | "(" query ")" | term
//! term  = "all" | "online" | "offline"
//!       | field ( "=" | ":" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!       | "tag" ":" key [ ( "=" | "!=" ) value ]
//! value = word | "quoted text"
//! ```
//!
//! | field | compared as |
//! |---|---|
//! | `id`, `product`, `chip`, `image`, `status`, `phase`, `reset` | text; `*` in a value stands for any characters |
//! | `group` | one of the device's groups |
//! | `tag:key`, `tag:key=value` | has the tag; has it with this value |
//! | `version` | versions: 1.10 is newer than 1.9, 1.2.0 the same as 1.2, 1.2.0-rc1 older than 1.2.0 |
//! | `chip_rev`, `rssi`, `heap`, `heap_min`, `uptime`, `boot`, `security_version`, `slot` | numbers |
//! | `seen` | how long ago the device last reported: `seen > 2d` |
//!
//! What is not known of a device is neither equal nor unequal, neither more nor less: every comparison with it is false.
//! Pure: no store, no clock; a parsed query is a value that prints as it was read.

mod eval;
mod parse;
mod version;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use eval::Facts;
pub(crate) use parse::seconds;
pub use version::compare_versions;

/// Longest query.
pub const MAX_QUERY_LEN: usize = 1024;
/// Deepest nesting of parentheses and `not`.
const MAX_DEPTH: usize = 32;

/// A query that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    root: Expr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    All,
    Online(bool),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Compare(Field, Comparison, Value),
    /// Has the tag, whatever its value.
    Tagged(String),
    /// Has the tag with this value, or with another.
    Tag(String, Comparison, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Id,
    Product,
    Chip,
    Image,
    Status,
    Phase,
    Reset,
    Group,
    Version,
    ChipRev,
    Rssi,
    Heap,
    HeapMin,
    Uptime,
    Boot,
    SecurityVersion,
    Slot,
    Seen,
}

/// What the values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Version,
    Number,
    Age,
}

impl Field {
    const ALL: [Self; 18] = [
        Self::Id,
        Self::Product,
        Self::Chip,
        Self::Image,
        Self::Status,
        Self::Phase,
        Self::Reset,
        Self::Group,
        Self::Version,
        Self::ChipRev,
        Self::Rssi,
        Self::Heap,
        Self::HeapMin,
        Self::Uptime,
        Self::Boot,
        Self::SecurityVersion,
        Self::Slot,
        Self::Seen,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Product => "product",
            Self::Chip => "chip",
            Self::Image => "image",
            Self::Status => "status",
            Self::Phase => "phase",
            Self::Reset => "reset",
            Self::Group => "group",
            Self::Version => "version",
            Self::ChipRev => "chip_rev",
            Self::Rssi => "rssi",
            Self::Heap => "heap",
            Self::HeapMin => "heap_min",
            Self::Uptime => "uptime",
            Self::Boot => "boot",
            Self::SecurityVersion => "security_version",
            Self::Slot => "slot",
            Self::Seen => "seen",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Id
            | Self::Product
            | Self::Chip
            | Self::Image
            | Self::Status
            | Self::Phase
            | Self::Reset
            | Self::Group => Kind::Text,
            Self::Version => Kind::Version,
            Self::ChipRev
            | Self::Rssi
            | Self::Heap
            | Self::HeapMin
            | Self::Uptime
            | Self::Boot
            | Self::SecurityVersion
            | Self::Slot => Kind::Number,
            Self::Seen => Kind::Age,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(i64),
    /// Seconds.
    Age(i64),
}

/// Why a text is no query, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  {query}\n  {blank:>at$}^", blank = "", at = .column)]
pub struct QueryError {
    what: String,
    query: String,
    /// Characters before the place.
    column: usize,
}

impl QueryError {
    /// What is wrong, without the place.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The place: how many characters come before it.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl Query {
    /// Whether it names a group anywhere. A group's own query may not: groups would go in circles.
    pub fn names_groups(&self) -> bool {
        fn within(expr: &Expr) -> bool {
            match expr {
                Expr::Not(inner) => within(inner),
                Expr::And(parts) | Expr::Or(parts) => parts.iter().any(within),
                Expr::Compare(field, ..) => *field == Field::Group,
                Expr::All | Expr::Online(_) | Expr::Tagged(_) | Expr::Tag(..) => false,
            }
        }
        within(&self.root)
    }
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        parse::parse(text).map(|root| Self { root })
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Expr], word: &str| {
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Expr::And(_) | Expr::Or(_) => write!(f, "({part})")?,
                    _ => part.fmt(f)?,
                }
            }
            Ok(())
        };
        match self {
            Self::All => f.write_str("all"),
            Self::Online(true) => f.write_str("online"),
            Self::Online(false) => f.write_str("offline"),
            Self::Not(inner) => match **inner {
                Self::And(_) | Self::Or(_) => write!(f, "not ({inner})"),
                _ => write!(f, "not {inner}"),
            },
            Self::And(parts) => joined(f, parts, "and"),
            Self::Or(parts) => joined(f, parts, "or"),
            Self::Compare(field, comparison, value) => {
                write!(f, "{} {} {value}", field.name(), comparison.symbol())
            }
            Self::Tagged(key) => write!(f, "tag:{}", Quoted(key)),
            Self::Tag(key, comparison, value) => {
                write!(
                    f,
                    "tag:{}{}{}",
                    Quoted(key),
                    comparison.symbol(),
                    Quoted(value)
                )
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => Quoted(text).fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Age(seconds) => write!(f, "{seconds}s"),
        }
    }
}

/// A text as a query writes it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(parse::is_word) && !parse::is_reserved(self.0) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}
