//! Values of the Action Message Format 0 (Adobe, AMF 0 specification, 2007).
//!
//! Invariant: what is read is at most [`MAX_DEPTH`] deep and [`MAX_VALUES`] values; its bytes are bounded by the
//! message that it stands in.

use bytes::{BufMut, BytesMut};

const MAX_DEPTH: u8 = 8;
const MAX_VALUES: usize = 512;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Array(Vec<Value>),
    Boolean(bool),
    Null,
    Number(f64),
    /// Also of ECMA arrays; in the order in which they came.
    Object(Vec<(String, Value)>),
    Text(String),
    Undefined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmfError {
    #[error("more than {MAX_DEPTH} levels of AMF values")]
    Deep,
    #[error("more than {MAX_VALUES} AMF values")]
    Many,
    #[error("an AMF value ends too early")]
    Short,
    #[error("AMF values of kind {0} are not taken")]
    Kind(u8),
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// A property of an object.
    pub fn property(&self, name: &str) -> Option<&Value> {
        let Self::Object(properties) = self else { return None };
        properties.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// All values of a message.
pub fn read(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    let mut reader = Reader { rest: bytes, values: 0 };
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], AmfError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(AmfError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(AmfError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn short_text(&mut self) -> Result<String, AmfError> {
        let length = u16::from_be_bytes(self.array()?);
        Ok(String::from_utf8_lossy(self.take(length.into())?).into_owned())
    }

    fn value(&mut self, depth: u8) -> Result<Value, AmfError> {
        self.values += 1;
        if depth > MAX_DEPTH {
            return Err(AmfError::Deep);
        }
        if self.values > MAX_VALUES {
            return Err(AmfError::Many);
        }
        let [kind] = self.array()?;
        Ok(match kind {
            0 => Value::Number(f64::from_be_bytes(self.array()?)),
            1 => Value::Boolean(self.array::<1>()? != [0]),
            2 => Value::Text(self.short_text()?),
            3 => Value::Object(self.properties(depth)?),
            5 => Value::Null,
            6 | 13 => Value::Undefined,
            8 => {
                // The count is a hint; the end is marked.
                self.array::<4>()?;
                Value::Object(self.properties(depth)?)
            }
            10 => {
                let count = u32::from_be_bytes(self.array()?);
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(depth + 1)?);
                }
                Value::Array(items)
            }
            11 => {
                // A date: ms, and a time zone that is not used.
                let time = f64::from_be_bytes(self.array()?);
                self.array::<2>()?;
                Value::Number(time)
            }
            12 | 15 => {
                let length = u32::from_be_bytes(self.array()?);
                let length = usize::try_from(length).map_err(|_| AmfError::Short)?;
                Value::Text(String::from_utf8_lossy(self.take(length)?).into_owned())
            }
            kind => return Err(AmfError::Kind(kind)),
        })
    }

    fn properties(&mut self, depth: u8) -> Result<Vec<(String, Value)>, AmfError> {
        let mut properties = Vec::new();
        loop {
            let name = self.short_text()?;
            if name.is_empty() && self.rest.first() == Some(&9) {
                self.rest = &self.rest[1..];
                return Ok(properties);
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }
}

/// Appends values.
pub fn write(values: &[Value], out: &mut BytesMut) {
    for value in values {
        match value {
            Value::Array(items) => {
                out.put_u8(10);
                out.put_u32(items.len() as u32);
                write(items, out);
            }
            Value::Boolean(yes) => out.put_slice(&[1, u8::from(*yes)]),
            Value::Null => out.put_u8(5),
            Value::Number(number) => {
                out.put_u8(0);
                out.put_f64(*number);
            }
            Value::Object(properties) => {
                out.put_u8(3);
                for (name, value) in properties {
                    write_short(name, out);
                    write(std::slice::from_ref(value), out);
                }
                out.put_slice(&[0, 0, 9]);
            }
            Value::Text(text) if text.len() > usize::from(u16::MAX) => {
                out.put_u8(12);
                out.put_u32(text.len() as u32);
                out.put_slice(text.as_bytes());
            }
            Value::Text(text) => {
                out.put_u8(2);
                write_short(text, out);
            }
            Value::Undefined => out.put_u8(6),
        }
    }
}

fn write_short(text: &str, out: &mut BytesMut) {
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Boolean),
            (-1e12..1e12).prop_map(Value::Number),
            "[a-z 中]{0,20}".prop_map(Value::Text),
            Just(Value::Null),
            Just(Value::Undefined),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec(("[a-z]{1,8}", inner), 0..4).prop_map(Value::Object),
            ]
        })
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep: Vec<u8> = std::iter::repeat_n([10u8, 0, 0, 0, 1], 1_000).flatten().collect();
        assert_eq!(read(&deep), Err(AmfError::Deep));
        assert_eq!(read(&[5; 1_000]), Err(AmfError::Many));
        let mut absurd = vec![10, 0xFF, 0xFF, 0xFF, 0xFF];
        absurd.extend([5; 100]);
        assert_eq!(read(&absurd), Err(AmfError::Short));
        assert_eq!(read(&[12, 0xFF, 0xFF, 0xFF, 0xFF]), Err(AmfError::Short));
        assert_eq!(read(&[17]), Err(AmfError::Kind(17)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in proptest::collection::vec(any_value(), 0..4)) {
            let mut bytes = BytesMut::new();
            write(&values, &mut bytes);
            prop_assert_eq!(read(&bytes).unwrap(), values);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
