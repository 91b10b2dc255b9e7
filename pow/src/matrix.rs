//! Borrowed int8 matrices, row by row.

/// A matrix of int8 entries that lies row by row in somebody's memory.
///
/// For the right matrix this is B transposed, n × k: a row of it is a column of B (section 2).
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    entries: &'a [i8],
    columns: usize,
}

/// The entries do not fill whole rows (section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{entries} entries are not whole rows of {columns}")]
pub struct NotRectangular {
    /// Entries given.
    pub entries: usize,
    /// Entries in a row.
    pub columns: usize,
}

impl<'a> Matrix<'a> {
    /// A view of `entries` as rows of `columns` entries (section 2).
    ///
    /// # Errors
    ///
    /// [`NotRectangular`] if they do not fill at least one row, and every row they begin.
    pub fn new(entries: &'a [i8], columns: usize) -> Result<Self, NotRectangular> {
        if columns == 0 || entries.is_empty() || !entries.len().is_multiple_of(columns) {
            return Err(NotRectangular { entries: entries.len(), columns });
        }
        Ok(Self { entries, columns })
    }

    /// Number of rows (section 2).
    pub fn rows(&self) -> usize {
        self.entries.len() / self.columns
    }

    /// Entries in a row (section 2).
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One row (section 2).
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &'a [i8] {
        &self.entries[row * self.columns..][..self.columns]
    }

    /// All entries, row by row (section 2).
    pub fn entries(&self) -> &'a [i8] {
        self.entries
    }
}
