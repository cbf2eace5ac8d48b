# fetchd
