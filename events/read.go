package events

import (
	"encoding"
	"errors"
	"strconv"
)

// errType is returned for a value that does not fit.
var errType = errors.New("a member has the wrong type")

// The functions below read a value into a Go value as encoding/json does, but
// without its leniency about names: null leaves a value as it is, or makes it nil
// if it can be, and an unknown member is passed over.

// messageBody is what is sent as an object.
type messageBody interface {
	// member reads the member of that name, if there is one.
	member(name []byte, v value) error
}

// readMessage reads exactly one JSON object into body.
func readMessage(text []byte, body messageBody) error {
	d := newDocument()
	defer d.release()
	o, err := d.scan(text)
	if err != nil {
		return err
	}
	return readObject(o.value, body)
}

func readObject(v value, body messageBody) error {
	if v.form() == isNull {
		return nil
	}
	o, err := v.object()
	if err != nil {
		return err
	}
	for name, m := range o.members() {
		if err := body.member(name, m); err != nil {
			return err
		}
	}
	return nil
}

// readBody is readObject for lists and maps of bodies.
func readBody[T any, P interface {
	*T
	messageBody
}](v value, to *T) error {
	return readObject(v, P(to))
}

func readText[T ~string](v value, to *T) error {
	switch v.form() {
	case isNull:
		return nil
	case isString:
		*to = T(v.raw())
		return nil
	}
	return errType
}

func readBool(v value, to *bool) error {
	switch v.form() {
	case isNull:
		return nil
	case isTrue, isFalse:
		*to = v.form() == isTrue
		return nil
	}
	return errType
}

func readInt[T int | int64](v value, to *T) error {
	if v.form() == isNull {
		return nil
	}
	n, err := strconv.ParseInt(string(v.raw()), 10, 64)
	if v.form() != isNumber || err != nil || int64(T(n)) != n {
		return errType
	}
	*to = T(n)
	return nil
}

func readUint(v value, to *uint64) error {
	if v.form() == isNull {
		return nil
	}
	n, err := strconv.ParseUint(string(v.raw()), 10, 64)
	if v.form() != isNumber || err != nil {
		return errType
	}
	*to = n
	return nil
}

// readEncoded reads what is sent as a string of its own form. There is no null
// of it.
func readEncoded[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](v value, to *T) error {
	if v.form() != isString {
		return errType
	}
	return P(to).UnmarshalText(v.raw())
}

func readList[T any](v value, to *[]T, read func(value, *T) error) error {
	if v.form() == isNull {
		*to = nil
		return nil
	}
	if v.form() != isArray {
		return errType
	}
	n := 0
	for range v.elements() {
		n++
	}
	list := make([]T, n)
	n = 0
	for e := range v.elements() {
		if err := read(e, &list[n]); err != nil {
			return err
		}
		n++
	}
	*to = list
	return nil
}

func readMap[K ~string, T any](v value, to *map[K]T, read func(value, *T) error) error {
	if v.form() == isNull {
		*to = nil
		return nil
	}
	o, err := v.object()
	if err != nil {
		return err
	}
	m := make(map[K]T, 2)
	for name, v := range o.members() {
		var e T
		if err := read(v, &e); err != nil {
			return err
		}
		m[K(name)] = e
	}
	*to = m
	return nil
}

func readPointer[T any](v value, to **T, read func(value, *T) error) error {
	if v.form() == isNull {
		*to = nil
		return nil
	}
	*to = new(T)
	return read(v, *to)
}

func readTexts[T ~string](v value, to *[]T) error { return readList(v, to, readText) }

func readIdentities(v value, to *[]Identity) error { return readList(v, to, readEncoded) }
