package main

import "math/bits"

// bytesPerEntry is the size of the memory that a random read is made from, as
// much as the table of an exact set takes for each entry.
const bytesPerEntry = 24

// words are memory with something in it: untouched memory would be one page.
func words(entries int) []uint64 {
	w := make([]uint64, max(entries*bytesPerEntry/8, 8))
	for i := range w {
		w[i] = mix(uint64(i))
	}
	return w
}

// randomRead reads one word for each token, and each address depends on the
// value read before, as a lookup waits for the memory. A counter is mixed in:
// without it the addresses would soon go round in a small circle.
func randomRead(w []uint64) contestant {
	return contestant{name: "random_read", worker: func() func([]query) int {
		x, n := mix(uint64(len(w))), uint64(0)
		return func(block []query) int {
			for range block {
				n += 0x9e3779b97f4a7c15
				i, _ := bits.Mul64(x+n, uint64(len(w)))
				x = w[i]
			}
			return int(x & 1)
		}
	}}
}

// independentRead reads one word for each token without waiting for the last:
// the processor has several under way at once.
func independentRead(w []uint64) contestant {
	return contestant{name: "independent_read", worker: func() func([]query) int {
		n, sum := uint64(0), uint64(0)
		return func(block []query) int {
			for range block {
				n++
				i, _ := bits.Mul64(mix(n), uint64(len(w)))
				sum += w[i]
			}
			return int(sum & 1)
		}
	}}
}

// spin only computes, as long for each token as a check about takes: how much
// more it does on two cores is what the machine gives.
func spin() contestant {
	return contestant{name: "spin", worker: func() func([]query) int {
		x := uint64(1)
		return func(block []query) int {
			for range block {
				for range 12 {
					x = mix(x)
				}
			}
			return int(x & 1)
		}
	}}
}
