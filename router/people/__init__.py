"""People's data: who asks for it, and what stands for a contact whose data was erased."""
