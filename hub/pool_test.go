package hub

import "testing"

// What is done is not kept, though the pool is never without work.
func TestPoolKeepsNothing(t *testing.T) {
	p := &pool{h: &Hub{}, max: 0} // no goroutines: drain is called here
	const n = 200_000
	count, most := 0, 0
	var f func()
	f = func() {
		most = max(most, len(p.queue))
		if count++; count < n {
			p.do(f)
		}
	}
	p.do(f)
	p.do(func() {})
	p.workers = 1
	if p.drain(); count != n || most > 4096 {
		t.Errorf("%d of %d carried out, %d kept", count, n, most)
	}
}
