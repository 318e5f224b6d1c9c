package engine

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sockmill/sockmill/engine/internal/limit"
)

// Setting is a field of Config as it is in force.
type Setting struct {
	Name   string // such as "PingInterval"
	Value  string // "25s", "no limit", "on", "DeflateOff"
	Hidden bool   // Value only says whether it is set, as "set" or "not set": it is a function, or may hold a secret, or is an object of the program
}

// Settings returns the configuration as it is in force, defaults filled in, by the
// order of the fields of Config.
func (e *Engine) Settings() []Setting {
	return settingsOf(reflect.ValueOf((*Config)(e.set)).Elem(), "")
}

// Settings returns what is in force for the listener and is different from the Settings of its engine.
func (l *Listener) Settings() (own []Setting) {
	of := settingsOf(reflect.ValueOf((*Config)(l.ep.settings)).Elem(), "")
	for i, s := range l.ep.e.Settings() {
		if s != of[i] {
			own = append(own, of[i])
		}
	}
	return own
}

func settingsOf(cfg reflect.Value, prefix string) (all []Setting) {
	for i := range cfg.NumField() {
		field := cfg.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		s := Setting{Name: prefix + field.Name}
		switch v := cfg.Field(i).Interface().(type) {
		case bool:
			s.Value = map[bool]string{true: "on", false: "off"}[v]
		case string:
			s.Value = v
		case []string:
			s.Value = strings.Join(v, " ")
		case Policy:
			s.Value = [...]string{"default", "PolicyClose", "PolicyDropNewest", "PolicyDropOldest", "PolicyReplace"}[min(v, PolicyReplace)]
		case DeflateMode:
			s.Value = [...]string{"default", "DeflateTakeover", "DeflateNoTakeover", "DeflateOff"}[min(v, DeflateOff)]
		case net.Listener:
			s.Value = v.Addr().String()
		default:
			switch f := cfg.Field(i); {
			case f.CanInt() || f.CanUint() || f.CanFloat():
				s.Value = number(s.Name, f)
			case f.Kind() == reflect.Struct:
				all = append(all, settingsOf(f, s.Name+".")...)
				continue
			default: // whatever it is, it is not shown
				s.Hidden, s.Value = true, map[bool]string{true: "not set", false: "set"}[f.IsZero()]
			}
		}
		if s.Value == "" {
			s.Value = "not set"
		}
		all = append(all, s)
	}
	return all
}

// number shows a number or a duration, which may be no limit.
func number(name string, v reflect.Value) string {
	if i := slices.IndexFunc(limits, func(b bound) bool { return b.Name == name }); i >= 0 && v.CanInt() && limits[i].WithoutLimit != 0 && v.Int() == limits[i].WithoutLimit {
		return "no limit"
	}
	if d, ok := v.Interface().(time.Duration); ok && limit.Endless(d) {
		return "no limit"
	}
	return fmt.Sprint(v.Interface())
}
