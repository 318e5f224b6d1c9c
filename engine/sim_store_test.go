package engine_test

import (
	"reflect"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/engine/session"
)

// simStore is a Store that shows the simulation how many connections it keeps.
type simStore struct{ *session.Store }

func (s simStore) Conns() int { return reflect.ValueOf(s.Store).Elem().FieldByName("byConn").Len() }

// The simulation is of the package engine, which session imports.
func init() {
	engine.NewSimStore = func(e *engine.Engine, grace time.Duration, sessionsMax int, expire func(state any)) (engine.SimStore, error) {
		s, err := session.New(e, session.Config{Grace: grace, Max: sessionsMax, OnExpire: expire})
		return simStore{s}, err
	}
	engine.ErrSimExpired, engine.ErrSimFull, engine.ErrSimNone = session.ErrExpired, session.ErrFull, session.ErrNone
}
