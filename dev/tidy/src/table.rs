//! Tables and headings of Markdown files.

/// A row's line number, from 1, and its trimmed cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) line: usize,
    pub(crate) cells: Vec<&'a str>,
}

/// A table, and the headings it stands under, the outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table<'a> {
    pub(crate) headings: Vec<&'a str>,
    pub(crate) header: Row<'a>,
    pub(crate) rows: Vec<Row<'a>>,
}

/// The tables of a Markdown text, in order.
pub(crate) fn tables(text: &str) -> Vec<Table<'_>> {
    let (mut tables, mut headings): (Vec<Table<'_>>, Vec<(usize, &str)>) = (Vec::new(), Vec::new());
    let mut within = false;
    for (line, text) in prose(text) {
        let level = text.bytes().take_while(|byte| *byte == b'#').count();
        if level > 0 {
            headings.retain(|(other, _)| *other < level);
            headings.push((level, text[level..].trim()));
        }
        let Some(cells) = cells(text) else {
            within = false;
            continue;
        };
        let row = Row { line, cells };
        match tables.last_mut().filter(|_| within) {
            Some(table) if is_ruler(&row) && table.rows.is_empty() => {}
            Some(table) => table.rows.push(row),
            None => {
                let headings = headings.iter().map(|(_, heading)| *heading).collect();
                tables.push(Table { headings, header: row, rows: Vec::new() });
            }
        }
        within = true;
    }
    tables
}

/// The lines outside fenced code, with their numbers from 1.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((at + 1, line))
    })
}

/// What stands between backticks.
pub(crate) fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let mut rest = line.trim().strip_prefix('|')?;
    let mut cells = Vec::new();
    let mut from = 0;
    while let Some(at) = rest[from..].find('|').map(|at| at + from) {
        if rest[..at].ends_with('\\') {
            from = at + 1; // an escaped bar belongs to the cell
            continue;
        }
        cells.push(rest[..at].trim());
        (rest, from) = (&rest[at + 1..], 0);
    }
    if !rest.trim().is_empty() {
        cells.push(rest.trim());
    }
    Some(cells)
}

fn is_ruler(row: &Row<'_>) -> bool {
    row.cells.iter().all(|cell| cell.contains('-') && cell.chars().all(|c| matches!(c, '-' | ':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_with_their_headings() {
        let text = "# All\n\n## One\n| a | b |\n| --- | :-: |\n| 1 | x \\| y |\n| 2 | - |\n\n```\n| no | table |\n```\n## Two\n### Inner\n| c |\n| - |\n";
        let tables = tables(text);
        assert_eq!(tables.len(), 2);
        assert_eq!(tables[0].headings, ["All", "One"]);
        assert_eq!(tables[0].header, Row { line: 4, cells: vec!["a", "b"] });
        assert_eq!(
            tables[0].rows,
            [Row { line: 6, cells: vec!["1", "x \\| y"] }, Row { line: 7, cells: vec!["2", "-"] }]
        );
        assert_eq!(tables[1].headings, ["All", "Two", "Inner"]);
        assert!(tables[1].rows.is_empty());
    }

    #[test]
    fn spans_of_code() {
        assert_eq!(code_spans("`a` and `b::c`, d").collect::<Vec<_>>(), ["a", "b::c"]);
        assert_eq!(code_spans("none").count(), 0);
    }
}
