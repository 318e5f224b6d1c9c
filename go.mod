module github.com/sockmill/sockmill

go 1.25

require (
	github.com/klauspost/compress v1.20.3
	github.com/panjf2000/gnet/v2 v2.9.8
	go.uber.org/goleak v1.3.0
	go.uber.org/zap v1.28.0
	golang.org/x/sys v0.30.0
)

require (
	go.uber.org/multierr v1.11.0 // indirect
	gopkg.in/natefinch/lumberjack.v2 v2.2.1 // indirect
)
