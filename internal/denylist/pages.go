package denylist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// The layout of bbolt's pages, which has not changed since its first version.
const (
	pageHeader   = 16 // id u64, flags u16, count u16, overflow u32
	pageElement  = 16 // branch: pos, ksize u32, page u64; leaf: flags, pos, ksize, vsize u32
	branchPage   = 1
	leafPage     = 2
	bucketValue  = 1
	bucketHeader = 16 // root page u64, sequence u64; root 0: the page follows
	maxDepth     = 64
)

// page is a page with those that continue it, and bytes behind it that are not
// its own.
type page []byte

func (p page) flags() uint16    { return binary.NativeEndian.Uint16(p[8:]) }
func (p page) count() int       { return int(binary.NativeEndian.Uint16(p[10:])) }
func (p page) overflow() uint64 { return uint64(binary.NativeEndian.Uint32(p[12:])) }

var errOutside = errors.New("something lies outside its page")

// check makes sure that the page is of a kind that belongs into the tree, and
// that its elements are within it.
func (p page) check() error {
	if len(p) < pageHeader || p.flags() != branchPage && p.flags() != leafPage {
		return errors.New("neither branch nor leaf")
	}
	if pageHeader+p.count()*pageElement > len(p) {
		return errOutside
	}
	return nil
}

func (p page) field(element, n int) int {
	return int(binary.NativeEndian.Uint32(p[pageHeader+element*pageElement+4*n:]))
}

// branch gives an element of a branch: the page that it names.
func (p page) branch(i int) (child uint64, err error) {
	at := pageHeader + i*pageElement
	if at+p.field(i, 0)+p.field(i, 1) > len(p) {
		return 0, errOutside
	}
	return binary.NativeEndian.Uint64(p[at+8:]), nil
}

// leaf gives an element of a leaf, and whether its value is a bucket.
func (p page) leaf(i int) (key, value []byte, bucket bool, err error) {
	from, size := pageHeader+i*pageElement+p.field(i, 1), p.field(i, 2)
	end := from + size + p.field(i, 3)
	if p.field(i, 0) > bucketValue || end > len(p) {
		return nil, nil, false, errOutside
	}
	return p[from : from+size : from+size], p[from+size : end : end], p.field(i, 0) == bucketValue, nil
}

// pageWalk reads the pages that are reachable from the root bucket from the
// file, in the order of keys. bbolt itself would follow a damaged page in a
// circle for ever, or until the stack is used up, neither of which can be
// recovered from; and it reads by way of a mapping of which the system is told
// to read nothing ahead.
type pageWalk struct {
	file    *os.File
	size    int // of a page, in bytes
	pages   uint64
	visited []bool
}

func newPageWalk(tx *bolt.Tx, file *os.File) (*pageWalk, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	size := tx.DB().Info().PageSize
	n := min(tx.Size(), info.Size()) / int64(size)
	w := &pageWalk{file, size, uint64(n), make([]bool, max(n, 2))}
	w.visited[0], w.visited[1] = true, true
	return w, nil
}

// subtree is a bucket: the page that it begins with, or that page itself in a
// small one.
type subtree struct {
	root   uint64
	inline page
}

func subtreeOf(value []byte) (*subtree, error) {
	if len(value) < bucketHeader {
		return nil, errors.New("bucket without a header")
	}
	t := &subtree{root: binary.NativeEndian.Uint64(value)}
	if t.root == 0 {
		t.inline = page(bytes.Clone(value[bucketHeader:]))
		return t, t.inline.check()
	}
	return t, nil
}

// buckets gives the buckets directly below the root bucket.
func (w *pageWalk) buckets(tx *bolt.Tx) (map[string]subtree, error) {
	all := map[string]subtree{}
	err := w.each(subtree{root: uint64(tx.Cursor().Bucket().Root())}, func(name []byte, t *subtree) error {
		if t != nil {
			all[string(name)] = *t
		}
		return nil
	})
	return all, err
}

// each calls fn with the names of what is directly below a bucket, and with the
// buckets themselves; for values with nil.
func (w *pageWalk) each(t subtree, fn func(name []byte, below *subtree) error) error {
	return w.leaves(t, newPage, func(p page) error {
		for i := range p.count() {
			name, value, isBucket, err := p.leaf(i)
			if err != nil {
				return err
			}
			var below *subtree
			if isBucket {
				if below, err = subtreeOf(value); err != nil {
					return err
				}
			}
			if err := fn(name, below); err != nil {
				return err
			}
		}
		return nil
	})
}

// check visits a bucket and all below it.
func (w *pageWalk) check(t subtree) error {
	return w.each(t, func(_ []byte, below *subtree) error {
		if below == nil {
			return nil
		}
		return w.check(*below)
	})
}

// leaves calls fn with each leaf of a bucket, in the order of keys. The page is
// fn's to keep; room gives one to read into, of any length.
func (w *pageWalk) leaves(t subtree, room func() page, fn func(page) error) error {
	if t.root == 0 {
		return fn(t.inline)
	}
	return w.walk(t.root, 0, room, fn)
}

func newPage() page { return nil }

func (w *pageWalk) walk(id uint64, depth int, room func() page, fn func(page) error) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d is too deep", id)
	}
	p, err := w.read(id, room())
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if p.flags() == leafPage {
		return fn(p)
	}
	for i := range p.count() {
		child, err := p.branch(i)
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		if err := w.walk(child, depth+1, room, fn); err != nil {
			return err
		}
	}
	return nil
}

// read reads a page and those that continue it, each of which may be part of
// the tree once only.
func (w *pageWalk) read(id uint64, p page) (page, error) {
	if id >= w.pages {
		return nil, errors.New("beyond the end")
	}
	p = slices.Grow(p[:0], w.size)[:w.size]
	if _, err := w.file.ReadAt(p, int64(id)*int64(w.size)); err != nil {
		return nil, err
	}
	more := p.overflow()
	if binary.NativeEndian.Uint64(p) != id || more >= w.pages-id {
		return nil, errors.New("another's header")
	}
	for n := id; n <= id+more; n++ {
		if w.visited[n] {
			return nil, errors.New("used twice")
		}
		w.visited[n] = true
	}
	if more > 0 {
		whole := int(more+1) * w.size
		p = slices.Grow(p, whole-w.size)[:whole]
		if _, err := w.file.ReadAt(p[w.size:], int64(id+1)*int64(w.size)); err != nil {
			return nil, err
		}
	}
	return p, p.check()
}
