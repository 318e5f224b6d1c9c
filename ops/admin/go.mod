module github.com/sockmill/sockmill/ops/admin

go 1.26.0

require (
	github.com/sockmill/sockmill v0.0.0
	github.com/sockmill/sockmill/hub v0.0.0
	go.uber.org/zap v1.28.0
)

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/panjf2000/gnet/v2 v2.9.8 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
	gopkg.in/natefinch/lumberjack.v2 v2.2.1 // indirect
)

replace (
	github.com/sockmill/sockmill => ../../
	github.com/sockmill/sockmill/hub => ../../hub
)
