//! The grammar of CEL: tokens to a tree, by the precedence of operators.
//!
//! ```text
//! ? :    ||    &&    == != < <= > >= in    + -    * / %    ! -    . [] ()
//! ```

use crate::{
    DEPTH_MAX, EXPRESSION_BYTES_MAX, Fault, NODES_MAX,
    token::{Token, tokens},
};

/// An expression and the byte its (main) operator or name stands at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expr {
    pub(crate) at: usize,
    pub(crate) kind: ExprKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExprKind {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Ident(String),
    Select(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    /// `f(..)`, or `x.f(..)` with a target.
    Call(Option<Box<Expr>>, String, Vec<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
}

/// Words that CEL keeps for languages it is embedded in.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Reads a whole expression.
pub(crate) fn parse(text: &str) -> Result<Expr, Fault> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(Fault::at(0, format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0, nodes: 0 };
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        token => Err(Fault::at(parser.at(), format!("{token} is not expected here"))),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    nodes: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    /// Takes the next token; the end stays.
    fn take(&mut self) -> (usize, Token) {
        let token = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(other) if *other == sign);
        if is {
            self.take();
        }
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        if self.takes(sign) {
            return Ok(());
        }
        Err(Fault::at(self.at(), format!("`{sign}` is expected here, not {}", self.peek())))
    }

    fn node(&mut self, at: usize, kind: ExprKind) -> Result<Expr, Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Fault::at(at, format!("an expression has at most {NODES_MAX} parts")));
        }
        Ok(Expr { at, kind })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::at(self.at(), format!("an expression is at most {DEPTH_MAX} levels deep")));
        }
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn expression(&mut self) -> Result<Expr, Fault> {
        self.deeper(|parser| {
            let condition = parser.chain("||")?;
            let at = parser.at();
            if !parser.takes("?") {
                return Ok(condition);
            }
            let yes = parser.chain("||")?;
            parser.expect(":")?;
            let no = parser.expression()?;
            parser.node(at, ExprKind::Choice(Box::new(condition), Box::new(yes), Box::new(no)))
        })
    }

    /// `a || b || c` and `a && b && c` are one node each, however long.
    fn chain(&mut self, sign: &'static str) -> Result<Expr, Fault> {
        let next = |parser: &mut Self| if sign == "||" { parser.chain("&&") } else { parser.relation() };
        let first = next(self)?;
        let at = self.at();
        let mut all = vec![first];
        while self.takes(sign) {
            all.push(next(self)?);
        }
        match (all.len(), sign) {
            (1, _) => Ok(all.swap_remove(0)),
            (_, "||") => self.node(at, ExprKind::Or(all)),
            _ => self.node(at, ExprKind::And(all)),
        }
    }

    fn relation(&mut self) -> Result<Expr, Fault> {
        let left = self.sum()?;
        let mut left = Levels { expr: left, count: 0 };
        loop {
            let sign = match self.peek() {
                Token::Sign(sign @ ("==" | "!=" | "<" | "<=" | ">" | ">=")) => *sign,
                Token::Ident(name) if name == "in" => "in",
                Token::Sign("=") => return Err(Fault::at(self.at(), "equality is written `==`")),
                _ => return Ok(left.expr),
            };
            left = self.binary(left, sign, Self::sum)?;
        }
    }

    fn sum(&mut self) -> Result<Expr, Fault> {
        let mut left = Levels { expr: self.product()?, count: 0 };
        while let Token::Sign(sign @ ("+" | "-")) = *self.peek() {
            left = self.binary(left, sign, Self::product)?;
        }
        Ok(left.expr)
    }

    fn product(&mut self) -> Result<Expr, Fault> {
        let mut left = Levels { expr: self.unary()?, count: 0 };
        while let Token::Sign(sign @ ("*" | "/" | "%")) = *self.peek() {
            left = self.binary(left, sign, Self::unary)?;
        }
        Ok(left.expr)
    }

    fn binary(
        &mut self,
        left: Levels,
        sign: &'static str,
        right: impl FnOnce(&mut Self) -> Result<Expr, Fault>,
    ) -> Result<Levels, Fault> {
        let (at, _) = self.take();
        let right = right(self)?;
        let kind = ExprKind::Binary(sign, Box::new(left.expr), Box::new(right));
        Levels { expr: self.node(at, kind)?, count: 0 }.grown_from(left.count, at)
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let at = self.at();
        if self.takes("!") {
            let inner = self.deeper(Self::unary)?;
            return self.node(at, ExprKind::Not(Box::new(inner)));
        }
        if !self.takes("-") {
            return self.member();
        }
        let negative = match *self.peek() {
            Token::Int(value) => Some(ExprKind::Int(
                0_i64
                    .checked_sub_unsigned(value)
                    .ok_or_else(|| Fault::at(at, format!("the number -{value} is too small")))?,
            )),
            Token::Double(value) => Some(ExprKind::Double(-value)),
            _ => None,
        };
        if let Some(kind) = negative {
            self.take();
            let number = self.node(at, kind)?;
            return self.suffixes(number);
        }
        let inner = self.deeper(Self::unary)?;
        self.node(at, ExprKind::Negate(Box::new(inner)))
    }

    fn member(&mut self) -> Result<Expr, Fault> {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    /// `.name`, `.name(..)` and `[..]` behind a value.
    fn suffixes(&mut self, expr: Expr) -> Result<Expr, Fault> {
        let mut left = Levels { expr, count: 0 };
        loop {
            let at = self.at();
            let kind = if self.takes("[") {
                let index = self.expression()?;
                self.expect("]")?;
                ExprKind::Index(Box::new(left.expr), Box::new(index))
            } else if self.takes(".") {
                let (at, Token::Ident(name)) = self.take() else {
                    return Err(Fault::at(at, "a `.` is followed by the name of a field or function"));
                };
                if name == "in" {
                    return Err(Fault::at(at, "`in` is no name; write [\"in\"]"));
                }
                if self.takes("(") {
                    let arguments = self.list(")")?;
                    ExprKind::Call(Some(Box::new(left.expr)), name, arguments)
                } else {
                    ExprKind::Select(Box::new(left.expr), name)
                }
            } else {
                return Ok(left.expr);
            };
            left = Levels { expr: self.node(at, kind)?, count: 0 }.grown_from(left.count, at)?;
        }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let (at, token) = self.take();
        let kind = match token {
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => ExprKind::List(self.list("]")?),
            Token::Sign("{") => ExprKind::Map(self.entries()?),
            Token::Int(value) => ExprKind::Int(
                i64::try_from(value)
                    .map_err(|_| Fault::at(at, format!("the number {value} is too large")))?,
            ),
            Token::Uint(value) => ExprKind::Uint(value),
            Token::Double(value) => ExprKind::Double(value),
            Token::Text(text) => ExprKind::Text(text),
            Token::Bytes(bytes) => ExprKind::Bytes(bytes),
            Token::Ident(name) => match &*name {
                "true" => ExprKind::Bool(true),
                "false" => ExprKind::Bool(false),
                "null" => ExprKind::Null,
                word if word == "in" || RESERVED.contains(&word) => {
                    return Err(Fault::at(at, format!("`{word}` is a reserved word")));
                }
                _ if self.takes("(") => ExprKind::Call(None, name, self.list(")")?),
                _ => ExprKind::Ident(name),
            },
            token @ (Token::Sign(_) | Token::End) => {
                return Err(Fault::at(at, format!("a value is expected here, not {token}")));
            }
        };
        self.node(at, kind)
    }

    /// Expressions with commas between them, up to the closing sign; a comma may stand before that, too.
    fn list(&mut self, close: &str) -> Result<Vec<Expr>, Fault> {
        let mut all = Vec::new();
        while !self.takes(close) {
            all.push(self.expression()?);
            if !self.takes(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(all)
    }

    fn entries(&mut self) -> Result<Vec<(Expr, Expr)>, Fault> {
        let mut all = Vec::new();
        while !self.takes("}") {
            let key = self.expression()?;
            self.expect(":")?;
            all.push((key, self.expression()?));
            if !self.takes(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(all)
    }
}

/// An expression that grows to the left, as `a.b.c` and `1 + 2 + 3` do: each step makes the tree one level deeper.
struct Levels {
    expr: Expr,
    count: usize,
}

impl Levels {
    fn grown_from(mut self, count: usize, at: usize) -> Result<Self, Fault> {
        self.count = count + 1;
        if self.count > DEPTH_MAX {
            return Err(Fault::at(at, format!("no more than {DEPTH_MAX} of these in a row")));
        }
        Ok(self)
    }
}
