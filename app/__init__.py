"""The application and the service around it: wiring, gateway, queue, delivery, command."""
