//! What a dataset's values look like: names, types and counts, read from the first bytes of a file as far as its form tells
//! them. No value is kept.
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use manta_api::{ColumnView, DatasetSchema};
use serde_json::Value;

use super::Form;

/// Columns or arrays that are told.
const COLUMNS_MAX: usize = 256;
/// Characters of a name that are told.
const NAME_CHARS_MAX: usize = 128;
/// Rows of a table by which its types are told.
const ROWS_READ_MAX: u64 = 1000;
/// Bytes of a table whose rows are counted; of a longer one they are not told.
const BYTES_COUNTED_MAX: u64 = 64 << 20;
/// Bytes of an array's header.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Files of a directory that are counted.
const FILES_MAX: usize = 100_000;

/// What is at a path looks like this, where that can be told.
pub(super) fn of(path: &Path, form: Form) -> Option<DatasetSchema> {
    match form {
        Form::File => file(path),
        Form::Directory => Some(directory(path)),
    }
}

/// A directory is told by how many files it has, and by what the first of a known form looks like.
fn directory(path: &Path) -> DatasetSchema {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().take(FILES_MAX);
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort_unstable();
    let count = u64::try_from(files.len()).ok();
    let first = files.first().and_then(|path| file(path));
    let format =
        first.as_ref().map_or_else(|| "directory".to_owned(), |first| format!("directory of {}", first.format));
    DatasetSchema { format, rows: None, files: count, columns: first.map(|first| first.columns).unwrap_or_default() }
}

fn file(path: &Path) -> Option<DatasetSchema> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let read = match ending.as_str() {
        "csv" => table(path),
        "npy" => File::open(path).and_then(|file| Ok(arrays("npy", vec![array(String::new(), file)?]))),
        "npz" => npz(path),
        "safetensors" => safetensors(path),
        "parquet" | "arrow" | "feather" => Ok(DatasetSchema { format: ending, ..DatasetSchema::default() }),
        _ => return None,
    };
    read.ok()
}

fn arrays(format: &str, columns: Vec<ColumnView>) -> DatasetSchema {
    let rows = match columns.as_slice() {
        [one] => one.shape.first().copied(),
        _ => None,
    };
    DatasetSchema { format: format.to_owned(), rows, files: None, columns }
}

fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect()
}

/// An array of NumPy's form: a magic word, the header's length, and the header as a Python literal.
fn array(name: String, mut from: impl Read) -> io::Result<ColumnView> {
    let mut begin = [0; 8];
    from.read_exact(&mut begin)?;
    if &begin[..6] != b"\x93NUMPY" {
        return Err(broken());
    }
    let length = if begin[6] == 1 {
        let mut length = [0; 2];
        from.read_exact(&mut length)?;
        u64::from(u16::from_le_bytes(length))
    } else {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        u64::from(u32::from_le_bytes(length))
    };
    let mut header = String::new();
    from.take(length.min(HEADER_BYTES_MAX)).read_to_string(&mut header)?;
    let shape = between(&header, "'shape': (", ")").ok_or_else(broken)?;
    let shape = shape.split(',').map(str::trim).filter(|size| !size.is_empty()).map(str::parse::<u64>);
    let shape = shape.collect::<Result<_, _>>().map_err(|_| broken())?;
    let dtype = between(&header, "'descr': '", "'").map_or_else(|| "record".to_owned(), dtype);
    Ok(ColumnView { name, dtype, shape })
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// NumPy's name of a type from its code: `<f4` is `float32`.
fn dtype(code: &str) -> String {
    let plain = code.trim_start_matches(['<', '>', '|', '=']);
    let (kind, bytes) = plain.split_at(plain.chars().next().map_or(0, char::len_utf8));
    let bits = bytes.parse::<u32>().map(|bytes| bytes * 8);
    match (kind, bits) {
        ("f", Ok(bits)) => format!("float{bits}"),
        ("i", Ok(bits)) => format!("int{bits}"),
        ("u", Ok(bits)) => format!("uint{bits}"),
        ("c", Ok(bits)) => format!("complex{bits}"),
        ("b", _) => "bool".to_owned(),
        ("U" | "S", _) => "text".to_owned(),
        _ => short(code),
    }
}

fn npz(path: &Path) -> io::Result<DatasetSchema> {
    let mut archive = zip::ZipArchive::new(File::open(path)?).map_err(io::Error::other)?;
    let mut columns = Vec::new();
    for index in 0..archive.len().min(COLUMNS_MAX) {
        let entry = archive.by_index(index).map_err(io::Error::other)?;
        let name = short(entry.name().map_err(io::Error::other)?.trim_end_matches(".npy"));
        columns.push(array(name, entry)?);
    }
    Ok(arrays("npz", columns))
}

fn safetensors(path: &Path) -> io::Result<DatasetSchema> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(broken());
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(&header).map_err(io::Error::other)?;
    let tensors = header.iter().filter(|(name, _)| *name != "__metadata__").take(COLUMNS_MAX);
    let columns = tensors.map(|(name, told)| ColumnView {
        name: short(name),
        dtype: short(told["dtype"].as_str().unwrap_or_default()).to_ascii_lowercase(),
        shape: told["shape"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect(),
    });
    Ok(arrays("safetensors", columns.collect()))
}

/// What the cells of a column were so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cells {
    Empty,
    Bool,
    Int,
    Float,
    Text,
}

impl Cells {
    fn of(cell: &str) -> Self {
        match cell.trim() {
            "" => Self::Empty,
            "true" | "false" | "True" | "False" => Self::Bool,
            cell if cell.parse::<i64>().is_ok() => Self::Int,
            cell if cell.parse::<f64>().is_ok() => Self::Float,
            _ => Self::Text,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Empty, one) | (one, Self::Empty) => one,
            (Self::Bool, Self::Bool) => Self::Bool,
            (Self::Bool, _) | (_, Self::Bool) => Self::Text,
            (one, other) => one.max(other),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
        }
    }
}

/// A table: its first row are names where none of its cells is a number.
fn table(path: &Path) -> io::Result<DatasetSchema> {
    let size = std::fs::metadata(path)?.len();
    let mut lines = Rows { from: BufReader::new(File::open(path)?), left: BYTES_COUNTED_MAX };
    let first = lines.next_row()?.unwrap_or_default();
    let is_number = |cell: &String| matches!(Cells::of(cell), Cells::Int | Cells::Float);
    let is_headed = !first.iter().any(is_number);
    let names: Vec<String> = if is_headed {
        first.iter().map(|name| short(name.trim())).collect()
    } else {
        (0..first.len()).map(|index| index.to_string()).collect()
    };
    let mut kinds = vec![Cells::Empty; names.len()];
    let mut note = |row: &[String]| {
        kinds.iter_mut().zip(row).for_each(|(kind, cell)| *kind = kind.and(Cells::of(cell)));
    };
    let mut rows = 0;
    if !is_headed {
        note(&first);
        rows += 1;
    }
    while let Some(row) = lines.next_row()? {
        rows += 1;
        if rows <= ROWS_READ_MAX {
            note(&row);
        } else if size > BYTES_COUNTED_MAX {
            break;
        }
    }
    let columns = names.into_iter().zip(kinds).take(COLUMNS_MAX);
    let columns = columns.map(|(name, kind)| ColumnView { name, dtype: kind.name().to_owned(), shape: Vec::new() });
    let rows = Some(rows).filter(|_| size <= BYTES_COUNTED_MAX);
    Ok(DatasetSchema { format: "csv".to_owned(), rows, files: None, columns: columns.collect() })
}

/// The rows of a table: a line each, but for line ends between quotes.
struct Rows {
    from: BufReader<File>,
    left: u64,
}

impl Rows {
    fn next_row(&mut self) -> io::Result<Option<Vec<String>>> {
        let mut text = Vec::new();
        loop {
            let read = self.from.by_ref().take(self.left).read_until(b'\n', &mut text)?;
            self.left -= u64::try_from(read).unwrap_or(self.left).min(self.left);
            let is_quoted = text.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
            if read == 0 || !is_quoted {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text);
        let row = text.trim_end_matches(['\n', '\r']);
        Ok((!text.is_empty()).then(|| cells(row)))
    }
}

fn cells(row: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut is_quoted = false;
    for c in row.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => all.push(String::new()),
            c => all.last_mut().expect("there is one from the start").push(c),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, bytes: &[u8]) -> Option<DatasetSchema> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        of(&path, Form::File)
    }

    fn columns(schema: &DatasetSchema) -> Vec<(&str, &str)> {
        schema.columns.iter().map(|column| (column.name.as_str(), column.dtype.as_str())).collect()
    }

    #[test]
    fn tables_are_told_by_names_types_and_rows_and_never_by_values() {
        let text = "age,weight,name,smokes,note\n41,70.5,\"Doe, Jane\",true,\n42,80,\"two\nlines\",false,\n";
        let schema = told("patients.csv", text.as_bytes()).unwrap();
        assert_eq!(
            columns(&schema),
            [("age", "int"), ("weight", "float"), ("name", "text"), ("smokes", "bool"), ("note", "empty")]
        );
        assert_eq!(schema.rows, Some(2));
        let text = serde_json::to_string(&schema).unwrap();
        assert!(!text.contains("Jane") && !text.contains("70.5"), "{text}");
        let headless = told("x.csv", b"1,2\n3,x\n").unwrap();
        assert_eq!((columns(&headless), headless.rows), (vec![("0", "int"), ("1", "text")], Some(2)));
        assert_eq!(told("x.csv", b"").unwrap().rows, Some(0));
    }

    #[test]
    fn arrays_are_told_by_their_headers() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (10, 64), }";
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        npy.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        npy.extend(header.as_bytes());
        let schema = told("x.npy", &npy).unwrap();
        assert_eq!((schema.rows, columns(&schema)), (Some(10), vec![("", "float32")]));
        assert_eq!(schema.columns[0].shape, [10, 64]);
        let header = r#"{"__metadata__":{},"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}"#;
        let mut tensors = (header.len() as u64).to_le_bytes().to_vec();
        tensors.extend(header.as_bytes());
        let schema = told("x.safetensors", &tensors).unwrap();
        assert_eq!((schema.columns[0].dtype.as_str(), schema.columns[0].shape.as_slice()), ("f16", &[2, 3][..]));
        for (name, bytes) in [("x.npy", &b"\x93NUMPY"[..]), ("x.safetensors", &[255; 16]), ("x.npz", b"PK")] {
            assert_eq!(told(name, bytes), None, "what is damaged is not told");
        }
        assert_eq!(told("x.bin", b"1,2"), None);
    }
}
