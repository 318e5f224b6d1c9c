package recipes

import (
	"fmt"
	"log"
	"net/http"
	"strings"

	"github.com/sockmill/sockmill/engine"
)

// A room is a topic. Who is in it hears what the others say.
func Example_rooms() {
	var e *engine.Engine
	e = server(engine.Config{}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			room, ok := strings.CutPrefix(u.Request.Path, "/rooms/")
			if !ok || room == "" || len(room) > 50 {
				return engine.Refuse(http.StatusNotFound, "no such room")
			}
			u.State = "room " + room // the name of its topic
			return nil
		},
		OnOpen: func(c *engine.Conn) {
			if err := c.Subscribe(c.State().(string)); err != nil {
				_ = c.Close(1011, "no place in the room")
				return
			}
			_ = c.SendText("welcome")
		},
		OnMessage: func(c *engine.Conn, m engine.Message) {
			if err := e.PublishExcept(c.State().(string), m, c); err != nil {
				log.Println(err)
			}
		},
	})
	client, stop := serve(e)
	defer stop()

	var people []*visitor
	for _, room := range []string{"tea", "tea", "coffee"} {
		v, _ := visit(client, engine.Dial{URL: "ws://" + e.Addr().String() + "/rooms/" + room})
		<-v.heard // welcome: the subscription counts
		people = append(people, v)
	}
	fmt.Println(e.Subscribers("room tea"), "for tea,", e.Subscribers("room juice"), "for juice")
	_ = people[0].SendText("is anybody here?")
	fmt.Println(<-people[1].heard)
	// Output:
	// 2 for tea, 0 for juice
	// is anybody here?
}
