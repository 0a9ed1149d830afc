//! Series as a file of Apache Parquet: one row for each point.

use std::sync::Arc;

use parquet::{
    data_type::{ByteArray, ByteArrayType, DoubleType},
    errors::ParquetError,
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};

use super::Series;

/// The file's bytes. Columns: `topic` and `field` as text, the others as numbers.
pub(super) fn write(series: &[Series], columns: &[&str]) -> Result<Vec<u8>, ParquetError> {
    let numbers: String = columns.iter().map(|name| format!("REQUIRED DOUBLE {name};")).collect();
    let schema = format!(
        "message history {{ REQUIRED BYTE_ARRAY topic (UTF8); REQUIRED BYTE_ARRAY field (UTF8); {numbers} }}"
    );
    let schema = Arc::new(parse_message_type(&schema)?);
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::default())?;
    let mut rows = file.next_row_group()?;
    for of in [|one: &Series| one.topic.clone(), |one: &Series| one.field.clone()] {
        let texts: Vec<ByteArray> = series
            .iter()
            .flat_map(|one| one.points.iter().map(|_| ByteArray::from(of(one).as_str())))
            .collect();
        if let Some(mut column) = rows.next_column()? {
            column.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
            column.close()?;
        }
    }
    for at in 0..columns.len() {
        let numbers: Vec<f64> = series
            .iter()
            .flat_map(|one| &one.points)
            .map(|point| point.get(at).copied().unwrap_or(f64::NAN))
            .collect();
        if let Some(mut column) = rows.next_column()? {
            column.typed::<DoubleType>().write_batch(&numbers, None, None)?;
            column.close()?;
        }
    }
    rows.close()?;
    file.close()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader as _, SerializedFileReader},
        record::RowAccessor as _,
    };

    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let one =
            Series { topic: "a".into(), field: "t".into(), points: vec![vec![1.0, 2.5], vec![2.0, 3.5]] };
        let bytes = write(&[one], &["time", "value"]).unwrap();
        let path = std::env::temp_dir().join(format!("cork-parquet-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap()).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].get_string(0).unwrap().as_str(), rows[1].get_double(3).unwrap()), ("a", 3.5));
    }
}
