package intake

import "slices"

// FillSlots makes it look as if as many passwords were compared as may be.
func (a *Authenticator) FillSlots() (release func()) {
	for range cap(a.passwords.slots) {
		a.passwords.slots <- struct{}{}
	}
	return func() {
		for range cap(a.passwords.slots) {
			<-a.passwords.slots
		}
	}
}

// Paths are the patterns that are served, but for what stands for all others.
func (s *Server) Paths() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for p := range s.paths {
			if p != "/" && !yield(p) {
				return
			}
		}
	})
}
