package memory

import "container/list"

// order is a list by use, the most recent in front, and a hand that walks through it from the
// back, to look for what has expired. Whoever moves or removes an element by these methods
// does not stop the hand.
type order struct {
	list.List
	hand *list.Element // what is looked at next; nil: the last
}

// use moves an element to the front.
func (o *order) use(e *list.Element) {
	o.pass(e)
	o.MoveToFront(e)
}

func (o *order) drop(e *list.Element) {
	o.pass(e)
	o.Remove(e)
}

func (o *order) pass(e *list.Element) {
	if o.hand == e {
		o.hand = e.Prev()
	}
}

// sweepSteps is how much the hand does at each use: since a use adds at most one thing that
// can expire, all that has expired is found as long as there is use.
const sweepSteps = 4

// sweep has expire look at some elements. It removes one thing that has expired
// and reports true, until there is nothing more.
func (o *order) sweep(expire func(value any) bool) {
	for range sweepSteps {
		if o.hand == nil {
			o.hand = o.Back()
		}
		if e := o.hand; e == nil {
			return
		} else if !expire(e.Value) {
			o.pass(e)
		}
	}
}
